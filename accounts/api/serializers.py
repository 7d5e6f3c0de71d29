"""The bodies of the REST API: what is taken, and what is answered."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from accounts.limits import Period, SpendLimit, limit_of_rate
from accounts.policies import Action, groups
from accounts.principal import FULL_ACCESS, Principal
from accounts.stores import Account, Group, Role
from core.rest import StrictSerializer

# What may be given to a new key. Keys that the platform makes for itself may have others.
ACCESS_TYPES = (FULL_ACCESS, "chat", "assistants", "file_upload", "share", "dual_embedding", "api_key")
MAX_ID = 255
MAX_LIST = 500
_PRINTABLE = RegexValidator(r"\A[^\x00-\x1f\x7f]*\Z", "Control characters cannot be kept.")
# Stands in URLs and in lists of models.
_GROUP_NAME = re.compile(r"[\w .&+-]{1,100}")


def _id(**options: Any) -> serializers.CharField:
    return serializers.CharField(max_length=MAX_ID, validators=[_PRINTABLE], **options)


def _ids(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=_id(), max_length=MAX_LIST, **options)


def _text(length: int, **options: Any) -> serializers.CharField:
    return serializers.CharField(max_length=length, allow_blank=True, required=False, **options)


@extend_schema_serializer(component_name="Limit")
class LimitBody(StrictSerializer):
    """At most so many US dollars in a period."""

    period = serializers.ChoiceField(choices=list(Period), help_text="Periods begin in UTC; `Total` never ends.")
    rate = serializers.FloatField(min_value=0, max_value=10**9, help_text="US dollars, exact to 10⁻⁶.")

    def to_internal_value(self, data: Any) -> SpendLimit | None:
        facts = super().to_internal_value(data)
        # A change may leave the limit out, but not a part of it: half a limit must not count as none.
        if missing := [name for name in ("period", "rate") if name not in facts]:
            raise serializers.ValidationError(dict.fromkeys(missing, "This field is required."))
        try:
            return limit_of_rate(facts)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from error

    def to_representation(self, instance: SpendLimit) -> dict[str, Any]:
        return {"period": instance.period.value, "rate": float(instance.as_rate()["rate"])}


def _limit(**options: Any) -> LimitBody:
    return LimitBody(allow_null=True, required=False, help_text="null for no limit.", **options)


class _KeyFields(StrictSerializer):
    """What a key is made with and what can be changed of it."""

    name = serializers.CharField(max_length=200, help_text="What it is for; a system key is named after it.")
    description = _text(2000)
    accountId = _id(source="account_id", required=False, help_text="Who pays: one of your accounts.")
    accessTypes = serializers.ListField(
        source="access_types",
        child=serializers.ChoiceField(choices=ACCESS_TYPES),
        allow_empty=False,
        max_length=len(ACCESS_TYPES),
        help_text="What it may be used for; `full_access` is everything, `api_key` is to manage keys.",
    )
    limit = _limit()
    expiresAt = serializers.DateTimeField(
        source="expires_at",
        allow_null=True,
        required=False,
        default_timezone=UTC,
        help_text="The first moment at which it is no longer good; null for never.",
    )

    def validate_expiresAt(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= datetime.now(UTC):
            raise serializers.ValidationError("This is past. Give a moment to come, or revoke the key.")
        return value


class NewKey(_KeyFields):
    """A key to be made."""

    kind = serializers.ChoiceField(
        choices=["owner", "delegate", "system"],
        default="owner",
        help_text="Whom it acts as: you, a `delegate`, or a system that is no person.",
    )
    delegate = _id(required=False, allow_null=True, help_text="The user that a delegate key acts as.")


class KeyChange(_KeyFields):
    """What is to be otherwise of a key."""


class Key(serializers.Serializer[Any]):
    """An API key, without the key."""

    id = serializers.SerializerMethodField(help_text="What the addresses of this API call it.")
    publicName = serializers.CharField(source="id", help_text="What the books and the logs call it.")
    kind = serializers.ChoiceField(choices=["owner", "delegate", "system"])
    owner = serializers.CharField(help_text="Who manages it.")
    delegate = serializers.CharField(allow_null=True)
    systemId = serializers.CharField(source="system_id", allow_null=True)
    name = serializers.CharField()
    description = serializers.CharField()
    accountId = serializers.CharField(source="account_id")
    accountName = serializers.CharField(source="account_name")
    accessTypes = serializers.SerializerMethodField()
    limit = LimitBody(allow_null=True)
    active = serializers.BooleanField(help_text="false once it was revoked.")
    expiresAt = serializers.DateTimeField(source="expires_at", allow_null=True)
    createdAt = serializers.DateTimeField(source="created_at", allow_null=True)
    lastUsedAt = serializers.DateTimeField(source="last_used_at", allow_null=True, help_text="To the minute or so.")

    @extend_schema_field({"type": "string", "format": "uuid"})
    def get_id(self, record: Any) -> str:
        return str(record.id.rpartition("/")[2])

    def get_accessTypes(self, record: Any) -> list[str]:
        return sorted(record.access_types)


class IssuedKey(serializers.Serializer[Any]):
    """A key that was made or rotated."""

    key = serializers.CharField(
        allow_null=True,
        help_text="The key itself: shown now and never again. null for a new delegate key: its delegate rotates it.",
    )
    record = Key()


class _GroupFields(StrictSerializer):
    name = serializers.CharField(max_length=100)
    includes = _ids(required=False, help_text="Ids of amplify groups whose members are members too, as readers.")
    systemUsers = _ids(source="system_users", required=False, help_text="Ids of systems that may act in it.")
    isPublic = serializers.BooleanField(
        source="is_public", required=False, help_text="Whether everybody may use what it offers."
    )
    isBillingGroup = serializers.BooleanField(
        source="is_billing_group", required=False, help_text="Whether reports show what its members spend."
    )
    limit = _limit()


class NewGroup(_GroupFields):
    """A group to be made."""

    kind = serializers.ChoiceField(
        choices=["assistant", "amplify"],
        default="assistant",
        help_text="`assistant` groups are run by their own admins; `amplify` groups, which carry limits and models and "
        "can be included in others, by administrators.",
    )
    members = serializers.DictField(
        child=serializers.ChoiceField(choices=list(Role)), required=False, help_text="User id to role."
    )

    def validate_members(self, value: Mapping[str, str]) -> Mapping[str, Role]:
        if len(value) > MAX_LIST:
            raise serializers.ValidationError(f"At most {MAX_LIST} at once. Add the others one by one.")
        for user_id in value:
            _id().run_validation(user_id)
        return {user_id: Role(role) for user_id, role in value.items()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["kind"] == "amplify" and not _GROUP_NAME.fullmatch(attrs["name"]):
            raise serializers.ValidationError({"name": "Letters, digits, blanks and any of . & + - _ only, please."})
        return attrs


class GroupChange(_GroupFields):
    """What is to be otherwise of a group."""


class Member(StrictSerializer):
    """A member's place in a group."""

    role = serializers.ChoiceField(choices=list(Role), help_text="In amplify groups always `read`.")

    def validate_role(self, value: str) -> Role:
        return Role(value)


@extend_schema_serializer(component_name="Group")
class GroupBody(serializers.Serializer[Group]):
    """A group, as you may see it."""

    id = serializers.CharField()
    version = serializers.CharField(help_text="Changes with each change; send it as If-Match.")
    kind = serializers.ChoiceField(choices=["assistant", "amplify"])
    name = serializers.CharField()
    members = serializers.SerializerMethodField(help_text="User id to role; null unless you are in the group.")
    includes = serializers.ListField(child=serializers.CharField())
    systemUsers = serializers.ListField(source="system_users", child=serializers.CharField())
    isPublic = serializers.BooleanField(source="is_public")
    isBillingGroup = serializers.BooleanField(source="is_billing_group")
    limit = LimitBody(allow_null=True)
    createdBy = serializers.CharField(source="created_by")

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": {"enum": list(Role), "type": "string"}})
    def get_members(self, group: Group) -> Mapping[str, str] | None:
        principal: Principal = self.context["principal"]
        if not groups.can(principal, Action.SEE_MEMBERS, group):
            return None
        return {user_id: role.value for user_id, role in sorted(group.members.items())}

    def to_representation(self, instance: Group) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return shown | {name: sorted(shown[name]) for name in ("includes", "systemUsers")}


@extend_schema_serializer(component_name="Account")
class AccountBody(StrictSerializer):
    """Who pays: a charge code that you may name."""

    id = _id(help_text="The charge code, as finance writes it.")
    name = _text(MAX_ID, default="")
    isDefault = serializers.BooleanField(
        source="is_default", default=False, help_text="Whether it pays when nobody names one."
    )
    limit = _limit(default=None)


class Accounts(StrictSerializer):
    """The whole list, in place of what there was."""

    accounts = serializers.ListField(child=AccountBody(), max_length=MAX_LIST)

    def to_internal_value(self, data: Any) -> Any:
        return [Account(**account) for account in super().to_internal_value(data)["accounts"]]


class Me(serializers.Serializer[Principal]):
    """Whom the service takes you for."""

    userId = serializers.CharField(source="user_id")
    accountId = serializers.CharField(source="account_id", help_text="Who pays.")
    apiKey = serializers.CharField(source="api_key_id", allow_null=True, help_text="Public name of the key in use.")
    accessTypes = serializers.SerializerMethodField(help_text="What this key or session may be used for.")
    groups = serializers.SerializerMethodField(help_text="Ids of the groups that you are in.")
    isAdmin = serializers.BooleanField(source="is_admin", help_text="Whether you administer the service.")
    limit = LimitBody(allow_null=True, help_text="What the key may spend.")

    def get_accessTypes(self, principal: Principal) -> list[str]:
        return sorted(principal.scopes)

    def get_groups(self, principal: Principal) -> list[str]:
        return sorted(principal.groups)
