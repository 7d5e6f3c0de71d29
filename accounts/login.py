"""Sign-in by browser through an OpenID Connect provider, for the chat page and the admin alike.

mozilla-django-oidc brings the flow (state, nonce, PKCE, where to go afterwards); what is believed of the answer is
decided in `accounts.provider` (docs/decisions/0008-sign-in.md).
"""

import time
from collections.abc import Mapping
from typing import Any

import structlog
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import make_password
from django.contrib.auth.views import LoginView, LogoutView
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.generic import View
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from accounts.models import User
from accounts.namesakes import objection_to, passwords_count
from accounts.provider import Claims, Person, Provider, SignInRefused
from core.errors import Unavailable

log = structlog.get_logger(__name__)

BACKEND = "accounts.login.ProviderBackend"
# A day's work: who has left, or lost a group over there, is noticed at the next sign-in.
SESSION_SECONDS = 12 * 3600

_NAME_TOO_LONG = "Your user id is too long to sign in here. Please ask your administrator."


class _Current:
    """Holds the provider, because Django makes backends and views itself. Filled by `amplify_chat.wiring`."""

    provider: Provider | None = None


current = _Current()


def _provider() -> Provider:
    if current.provider is None:
        raise Http404("Sign-in through an institution is not set up here.")
    return current.provider


class ProviderBackend(OIDCAuthenticationBackend):
    """Who comes back from the provider, as a user of ours."""

    # Not the library's, which let in those who were deactivated meanwhile.
    get_user = ModelBackend.get_user

    def __init__(self) -> None:
        # Not the library's, which wants all endpoints whenever a session is read.
        self.UserModel = User
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID
        self.OIDC_RP_CLIENT_SECRET = settings.OIDC_RP_CLIENT_SECRET

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        """Raises SignInRefused, Unavailable. None for credentials of another kind.

        The nonce comes from the callback alone: without it, a password form with `?code=…&state=…` in its address
        would be taken for a callback, past the check of the state.
        """
        if current.provider is None or not credentials.get("nonce"):
            return None
        return super().authenticate(request, **credentials)  # type: ignore[no-any-return]

    def get_token(self, payload: Mapping[str, str]) -> Mapping[str, str]:
        return async_to_sync(_provider().tokens)(payload)

    def verify_token(self, token: str, **expected: Any) -> Claims:
        return async_to_sync(_provider().id_claims)(token, expected["nonce"], time.time())

    def get_or_create_user(self, access_token: str, id_token: str, payload: Claims) -> User:
        return signed_in(async_to_sync(_provider().person)(payload, access_token, time.time()), _provider())


def signed_in(person: Person, provider: Provider) -> User:
    """The user of this person, made or brought up to date. Raises SignInRefused for one who stays out."""
    user = _user_of(person)
    is_admin = not person.groups.isdisjoint(provider.admin_groups)
    now = {
        "email": person.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "is_staff": is_admin or not person.groups.isdisjoint(provider.staff_groups),
        "is_superuser": is_admin,
    }
    changed = [name for name, value in now.items() if getattr(user, name) != value]
    for name in changed:
        setattr(user, name, now[name])
    if changed:
        user.save(update_fields=changed)
    return user


def _user_of(person: Person) -> User:
    if len(person.user_id) > (User._meta.get_field("username").max_length or 0):
        raise SignInRefused("user_id_length", _NAME_TOO_LONG)
    user, _ = User.objects.get_or_create(username=person.user_id, defaults={"password": make_password(None)})
    if objection := objection_to(user):
        raise SignInRefused("namesake", objection)
    return user


class SignInPage(LoginView):
    """The one sign-in page: through the provider, by a password that is kept here, or both."""

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        return super().get_context_data(**more, **ways_in())


def ways_in() -> dict[str, bool]:
    """How people can sign in, for the template."""
    return {"by_provider": current.provider is not None, "by_password": passwords_count()}


class _OnSignInPage(View):
    """Says on the sign-in page what went wrong, where another try is one click away."""

    template_name = ""

    def refuse(self, text: str, *, status: int) -> HttpResponse:
        response = render(self.request, self.template_name, {"problem": text, **ways_in()}, status=status)
        response.headers["Cache-Control"] = "no-store"
        return response


class ToProvider(_OnSignInPage, OIDCAuthenticationRequestView):
    """Sends the browser over, with a state, a nonce and a PKCE challenge that only its session can answer to."""

    def __init__(self, **options: Any) -> None:
        # Not the library's, which wants the endpoint before anybody could say that it cannot be had.
        View.__init__(self, **options)
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID

    def get(self, request: HttpRequest) -> HttpResponse:
        provider = _provider()
        try:
            self.OIDC_OP_AUTH_ENDPOINT = async_to_sync(provider.authorization_endpoint)()
        except Unavailable as error:
            return self.refuse(str(error), status=503)
        response: HttpResponse = super().get(request)
        response.headers["Cache-Control"] = "no-store"
        return response


class FromProvider(_OnSignInPage, OIDCAuthenticationCallbackView):
    """Where the browser comes back to, with a code or with an error."""

    def get(self, request: HttpRequest) -> HttpResponse:
        _provider()
        if "error" in request.GET:
            # Not the library's, which signs out whoever is signed in, at the word of any link.
            return self._refused(SignInRefused("refused_over_there"))
        try:
            return super().get(request)  # type: ignore[no-any-return]
        except SignInRefused as refused:
            return self._refused(refused)
        except SuspiciousOperation:
            return self.refuse("This sign-in was begun elsewhere, or too long ago. Please sign in again.", status=400)
        except Unavailable as error:
            return self.refuse(str(error), status=503)

    def _refused(self, refused: SignInRefused) -> HttpResponse:
        log.warning("sign_in_refused", why=refused.why)
        return self.refuse(str(refused), status=403)

    def login_failure(self) -> HttpResponse:
        raise SuspiciousOperation("No sign-in was begun in this session.")

    def login_success(self) -> HttpResponse:
        where = self.success_url  # read first: the session of somebody else who was signed in is emptied
        auth.login(self.request, self.user)
        self.request.session.cycle_key()  # Django leaves it to somebody who signs in again
        self.request.session.pop("oidc_login_next", None)
        self.request.session.set_expiry(SESSION_SECONDS)
        return HttpResponseRedirect(where)


class SignOut(LogoutView):
    """Ends the session here; for those who came through the provider, also the one over there."""

    next_page = "login"

    def post(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        came_through_it = request.session.get(auth.BACKEND_SESSION_KEY) == BACKEND
        response = super().post(request, *args, **options)
        if current.provider is None or not came_through_it:
            return response
        back_to = request.build_absolute_uri(reverse("login"))
        url = async_to_sync(current.provider.end_of_session)(back_to)
        # Not a redirect: the page's policy (form-action 'self') ends a form's way at our own door.
        return render(request, "accounts/signed_out.html", {"url": url}) if url else response
