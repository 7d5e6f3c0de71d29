"""People and their API keys."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone

from accounts.keys import hash_key, new_key
from accounts.principal import GENERAL_ACCOUNT


class User(AbstractUser):
    """A person. `username` is the user id that everything is booked under."""


def _chat_only() -> list[str]:
    return ["chat"]


class ApiKey(models.Model):
    """A key to the API. Only its hash is kept; the key itself is shown once, when it is made."""

    api_owner_id = models.CharField(
        max_length=255, unique=True, editable=False, help_text="Public name: <owner>/ownerKey/<uuid>."
    )
    key_hash = models.CharField(max_length=128, unique=True, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200, blank=True, help_text="What the key is for.")
    account_id = models.CharField("account", max_length=255, default=GENERAL_ACCOUNT, help_text="Who pays.")
    access_types: models.JSONField[list[str], list[str]] = models.JSONField(
        default=_chat_only, help_text="A list; chat needs `chat` or `full_access`."
    )
    active = models.BooleanField(default=True, help_text="Clear this to revoke the key.")
    expires_at = models.DateTimeField("expires", null=True, blank=True)
    created_at = models.DateTimeField("created", default=timezone.now, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.name or self.api_owner_id

    @classmethod
    def issue(cls, *, owner: User, **fields: Any) -> tuple["ApiKey", str]:
        """Make a key for `owner`; returns the row and the key, which cannot be had again."""
        key = new_key()
        row = cls(
            api_owner_id=f"{owner.username}/ownerKey/{uuid.uuid4()}", key_hash=hash_key(key), owner=owner, **fields
        )
        row.full_clean()
        row.save()
        return row, key
