"""People, API keys, groups and accounts: what `STATE_BACKEND=database` keeps (`accounts.stores.database`).

User ids are text: whoever signs in elsewhere needs no row in `User`.
"""

import secrets
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from accounts.keys import hash_key, key_id, new_key
from accounts.limits import Period, SpendLimit
from accounts.principal import GENERAL_ACCOUNT, KeyKind
from accounts.stores import Role

_ACCESS_HELP = (
    'A list like ["chat"]. full_access: everything; chat: to chat; assistants, file_upload, share, dual_embedding: the '
    "parts of the service of that name."
)


class User(AbstractUser):
    """A person. `username` is the user id that everything is booked under."""


def _chat_only() -> list[str]:
    return ["chat"]


def new_version() -> str:
    """A name for a state that no other state has: not even that of a row that was deleted and made again."""
    return secrets.token_hex(8)


class Limited(models.Model):
    """A row with a spend limit, or none."""

    limit_period = models.CharField(
        max_length=8,
        blank=True,
        default="",
        choices=[(period.value, period.value) for period in Period],
        help_text="Periods begin in UTC. Empty for no limit.",
    )
    limit_micro_dollars = models.BigIntegerField(
        "limit",
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Millionths of a US dollar that may be spent in a period: 50000000 is $50. Empty for no limit.",
    )

    class Meta:
        abstract = True
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(limit_period="", limit_micro_dollars=None)
                | models.Q(
                    limit_period__in=[period.value for period in Period],
                    limit_micro_dollars__isnull=False,  # a check that comes to NULL passes
                    limit_micro_dollars__gte=0,
                ),
                name="%(class)s_limit_whole",
                violation_error_message="A limit needs both a period and an amount, or neither.",
            )
        ]

    @property
    def limit(self) -> SpendLimit | None:
        if not self.limit_period or self.limit_micro_dollars is None:
            return None
        return SpendLimit(period=Period(self.limit_period), micro_dollars=self.limit_micro_dollars)


def limit_fields(limit: SpendLimit | None) -> dict[str, Any]:
    """The columns of a `Limited` row."""
    if limit is None:
        return {"limit_period": "", "limit_micro_dollars": None}
    return {"limit_period": limit.period.value, "limit_micro_dollars": limit.micro_dollars}


class ApiKey(Limited):
    """A key to the API. Only its hash is kept; the key itself is shown once, when it is made or rotated."""

    api_owner_id = models.CharField(
        "public name",
        max_length=255,
        unique=True,
        editable=False,
        help_text="Owner, kind and a random number: ann/ownerKey/3f2c…",
    )
    key_hash = models.CharField(max_length=128, unique=True, null=True, editable=False)  # noqa: DJ001 - NULLs are not equal
    # At most 200 letters, so that the public name fits the ledger's column.
    owner = models.CharField(max_length=200, db_index=True, help_text="User id of who manages the key.")
    delegate = models.CharField(
        max_length=255,
        blank=True,
        default="",
        db_index=True,
        help_text="The key acts as this user instead of its owner.",
    )
    system_id = models.CharField(
        max_length=255, blank=True, default="", help_text="The key acts as this system, which is no person."
    )
    name = models.CharField(max_length=200, blank=True, help_text="What the key is for.")
    description = models.TextField(blank=True, default="")
    account_id = models.CharField("account", max_length=255, default=GENERAL_ACCOUNT, help_text="Who pays.")
    account_name = models.CharField(max_length=255, blank=True, default="")
    access_types: models.JSONField[list[str], list[str]] = models.JSONField(default=_chat_only, help_text=_ACCESS_HELP)
    active = models.BooleanField(default=True, help_text="Clear this to revoke the key.")
    expires_at = models.DateTimeField(
        "expires", null=True, blank=True, help_text="The first moment at which it is no longer good. Empty for never."
    )
    created_at = models.DateTimeField("created", default=timezone.now, editable=False)
    last_used_at = models.DateTimeField("last used", null=True, editable=False, help_text="To the minute or so.")
    purpose = models.CharField(
        max_length=64, blank=True, default="", help_text="What the platform made it for, if it did."
    )

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar = [
            *Limited.Meta.constraints,
            models.CheckConstraint(
                condition=models.Q(delegate="") | models.Q(system_id=""),
                name="apikey_acts_as_one",
                violation_error_message="A key acts as a delegate or as a system, not as both.",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.api_owner_id

    def clean(self) -> None:
        types = self.access_types
        if not isinstance(types, list) or not all(isinstance(item, str) for item in types):
            raise ValidationError({"access_types": 'Give a list of texts, like ["chat"].'})

    def issue(self) -> str:
        """Save a new row with a name and a key of its own; returns the key, which cannot be had again."""
        kind: KeyKind = "delegate" if self.delegate else "system" if self.system_id else "owner"
        self.api_owner_id = key_id(self.owner, kind)
        return self.rotate()

    def rotate(self) -> str:
        """A new key in place of the old one, which is no longer good; returns it, as it cannot be had again."""
        key = new_key()
        self.key_hash = hash_key(key)
        # Nothing else: who revokes the key at this moment does so.
        self.save(update_fields=None if self._state.adding else ["key_hash"])
        return key


@receiver(post_delete, sender=User)
def _revoke_keys_of(instance: User, **_: Any) -> None:
    """Keys belong to text, so no foreign key takes them along: a person who is deleted leaves no key that works."""
    of_user = models.Q(owner=instance.username) | models.Q(delegate=instance.username)
    for key in ApiKey.objects.filter(of_user, active=True):
        key.active = False
        key.save(update_fields=["active"])


class Group(Limited):
    """People who are given something together (`accounts.stores.Group`)."""

    class Kind(models.TextChoices):
        AMPLIFY = "amplify", "amplify: run by administrators"
        ASSISTANT = "assistant", "assistant: run by its own admins"

    group_id = models.CharField("id", max_length=255, unique=True, help_text="What others know it by; never changes.")
    name = models.CharField(max_length=255, blank=True, default="")
    kind = models.CharField(
        max_length=16,
        choices=Kind.choices,
        default=Kind.ASSISTANT,
        help_text="Amplify groups may be included in others, billed and limited; assistant groups may be public.",
    )
    includes: "models.ManyToManyField[Group, Inclusion]" = models.ManyToManyField(
        "self", symmetrical=False, through="Inclusion", related_name="included_in"
    )
    system_users: models.JSONField[list[str], list[str]] = models.JSONField(
        default=list, blank=True, help_text='Systems that may act in it, like ["Scheduling-app-482113"].'
    )
    is_public = models.BooleanField("public", default=False, help_text="Everybody may use what it offers.")
    is_billing_group = models.BooleanField("billed", default=False, help_text="Reports show what its members spend.")
    created_by = models.CharField(max_length=255, blank=True, default="")
    version = models.CharField(max_length=16, default=new_version, editable=False)

    class Meta:
        ordering: ClassVar = ["group_id"]
        constraints: ClassVar = [
            *Limited.Meta.constraints,
            models.CheckConstraint(
                condition=models.Q(kind="assistant", is_billing_group=False, limit_period="")
                | models.Q(kind="amplify", is_public=False),
                name="group_fits_its_kind",
                violation_error_message="Only amplify groups are billed or limited; only assistant groups are public.",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.group_id

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Gives the new state a version, so that whoever read the old one does not overwrite it."""
        self.version = new_version()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        users = self.system_users
        if not isinstance(users, list) or not all(isinstance(item, str) for item in users):
            raise ValidationError({"system_users": 'Give a list of texts, like ["Scheduling-app-482113"].'})
        if users and self.kind == self.Kind.AMPLIFY:
            raise ValidationError({"system_users": "Only assistant groups have system users."})


_ROLES = [(role.value, role.value) for role in Role]


class Membership(models.Model):
    """A user's place in a group."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="memberships")
    user_id = models.CharField("user", max_length=255, db_index=True)
    role = models.CharField(max_length=8, choices=_ROLES, default=Role.READ.value)

    class Meta:
        ordering: ClassVar = ["user_id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["group", "user_id"], name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=[role for role, _ in _ROLES]), name="membership_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.role}"

    # A group with other members is another state of it.

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        self.group.save(update_fields=["version"])

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        deleted = super().delete(*args, **kwargs)
        self.group.save(update_fields=["version"])
        return deleted


class Inclusion(models.Model):
    """One group includes another: the other's members are its members too. Circles do no harm."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="inclusions")
    included = models.ForeignKey(
        Group,
        on_delete=models.RESTRICT,
        related_name="inclusions_in",
        limit_choices_to={"kind": "amplify"},
        help_text="An amplify group.",
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["group", "included"], name="inclusion_once"),
            models.CheckConstraint(
                condition=~models.Q(group=models.F("included")),
                name="inclusion_of_another",
                violation_error_message="A group cannot include itself.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.group} includes {self.included}"


class Account(Limited):
    """Who pays: a charge code that a user may name."""

    user_id = models.CharField("user", max_length=255)
    account_id = models.CharField("account", max_length=255, help_text="The charge code, as finance writes it.")
    name = models.CharField(max_length=255, blank=True, default="")
    is_default = models.BooleanField("default", default=False, help_text="Pays when the user names no account.")
    position = models.PositiveIntegerField(default=0, help_text="Its place in the user's list.")

    class Meta:
        ordering: ClassVar = ["user_id", "position", "id"]
        constraints: ClassVar = [
            *Limited.Meta.constraints,
            models.UniqueConstraint(fields=["user_id", "account_id"], name="account_once"),
            models.UniqueConstraint(
                fields=["user_id"],
                condition=models.Q(is_default=True),
                name="account_one_default",
                violation_error_message="This user has a default account already.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} of {self.user_id}"
