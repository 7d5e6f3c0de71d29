"""Users here who bear the name of somebody that a sign-in service sends.

Names are chosen over there. As a rule the two are one person; where that is not sure, nobody becomes the user here.
"""

from django.conf import settings

from accounts.models import User

PASSWORDS = "django.contrib.auth.backends.ModelBackend"

_DEACTIVATED = "Your user is deactivated here. Ask your administrator."
_SOMEBODY_ELSE = (
    "A user of your name signs in here with a password, and may be somebody else. Sign in with it, or ask your "
    "administrator to remove it."
)
_ADMINISTRATOR = (
    "An administrator of your name was made here with a password, and may be somebody else. Sign in by browser once, "
    "or ask your administrator to take that password away."
)


def passwords_count() -> bool:
    """Whether people may sign in with a password that is kept here (LOCAL_LOGIN)."""
    return PASSWORDS in settings.AUTHENTICATION_BACKENDS


def objection_to(user: User) -> str:
    """Why nobody from a sign-in service may be this user, and what to do; empty if they may.

    One who calls herself `admin` over there must not become the admin of this place.
    """
    if not user.is_active:
        return _DEACTIVATED
    # An empty one opens nothing, though Django calls it usable.
    has_password = bool(user.password) and user.has_usable_password()
    return _SOMEBODY_ELSE if has_password and passwords_count() else ""


def objection_to_name(user_id: str) -> str:
    """The same by name, for who comes with a token alone; blocks. Nobody of that name is no objection.

    Rank that a user was given here counts with tokens, until a sign-in by browser takes it away: so nobody becomes an
    administrator with a password, though passwords do not count.
    """
    user = User.objects.filter(username=user_id).only("is_active", "password", "is_superuser").first()
    if user is None:
        return ""
    made_here = user.is_superuser and bool(user.password) and user.has_usable_password()
    return objection_to(user) or (_ADMINISTRATOR if made_here else "")
