"""What the OpenAPI document says of each address, with examples."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from accounts.api import serializers
from core.openapi import PAGE_PARAMETERS, page_of

_KEY = {
    "id": "3f2c8a54-1d0b-4c57-9e0e-6f1f7f0a9b21",
    "publicName": "alice/ownerKey/3f2c8a54-1d0b-4c57-9e0e-6f1f7f0a9b21",
    "kind": "owner",
    "owner": "alice",
    "delegate": None,
    "systemId": None,
    "name": "Scheduling app",
    "description": "",
    "accountId": "general_account",
    "accountName": "",
    "accessTypes": ["chat"],
    "limit": {"period": "Monthly", "rate": 50.0},
    "active": True,
    "expiresAt": "2030-01-31T00:00:00Z",
    "createdAt": "2026-11-25T12:00:00Z",
    "lastUsedAt": None,
}
_NEW_KEY = {
    "name": "Scheduling app",
    "accessTypes": ["chat"],
    "limit": {"period": "Monthly", "rate": 50},
    "expiresAt": "2030-01-31T00:00:00Z",
}
_GROUP = {
    "id": "Chem-101_7b1c0a5e-58a5-4c19-9d5a-0e8b6f6f2c11",
    "version": "9f1c2d3e4b5a6978",
    "kind": "assistant",
    "name": "Chem 101",
    "members": {"alice": "admin", "bob": "read"},
    "includes": [],
    "systemUsers": [],
    "isPublic": False,
    "isBillingGroup": False,
    "limit": None,
    "createdBy": "alice",
}
_ACCOUNTS = {"accounts": [{"id": "123.45.67890", "name": "Lab grant", "isDefault": True, "limit": None}]}

_IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The `version` that you have read: if it is no longer the present one, nothing is done and the answer "
    "is 409. Left out: whatever is there now is changed.",
)
_GROUP_ID = OpenApiParameter("group_id", OpenApiTypes.STR, OpenApiParameter.PATH)
_USER_ID = OpenApiParameter("user_id", OpenApiTypes.STR, OpenApiParameter.PATH)


def _examples(request: Any = None, response: Any = None) -> list[OpenApiExample]:
    asked = [] if request is None else [OpenApiExample("asked", value=request, request_only=True)]
    answered = [] if response is None else [OpenApiExample("answered", value=response, response_only=True)]
    return asked + answered


hidden = extend_schema(exclude=True)

me = extend_schema(operation_id="read_me", tags=["me"], summary="Who am I?", responses=serializers.Me)

list_keys = extend_schema(
    operation_id="list_keys",
    tags=["keys"],
    summary="Your API keys",
    description="Those that you own and those that act as you, newest first.",
    parameters=PAGE_PARAMETERS,
    responses=page_of(serializers.Key),
)
create_key = extend_schema(
    operation_id="create_key",
    tags=["keys"],
    summary="Make an API key",
    description="The answer shows the key, once. A delegate key is shown to its delegate when they rotate it. A key "
    "can make keys too, if it has the access type `api_key` and no limit: of no more than its own access, account and "
    "time.",
    request=serializers.NewKey,
    responses={201: serializers.IssuedKey},
    examples=_examples(_NEW_KEY, {"key": "amp-v1-…", "record": _KEY}),
)
read_key = extend_schema(
    operation_id="read_key",
    tags=["keys"],
    summary="One API key",
    responses=serializers.Key,
    examples=_examples(response=_KEY),
)
change_key = extend_schema(
    operation_id="change_key",
    tags=["keys"],
    summary="Change an API key",
    description="Only what the body names. A key that was revoked cannot be changed any more (409).",
    request=serializers.KeyChange,
    responses=serializers.Key,
    examples=_examples({"limit": None, "name": "Scheduling app, new"}, _KEY),
)
rotate_key = extend_schema(
    operation_id="rotate_key",
    tags=["keys"],
    summary="Give an API key a new key",
    description="The old one is no longer good. The answer shows the new one, once. A delegate key is rotated by its "
    "delegate; a key rotates itself and no other.",
    request=None,
    responses=serializers.IssuedKey,
    examples=_examples(response={"key": "amp-v1-…", "record": _KEY}),
)
revoke_key = extend_schema(
    operation_id="revoke_key",
    tags=["keys"],
    summary="Revoke an API key",
    description="For good. It is felt everywhere within a second. By its owner or its delegate.",
    request=None,
    responses=serializers.Key,
    examples=_examples(response=_KEY | {"active": False}),
)

list_groups = extend_schema(
    operation_id="list_groups",
    tags=["groups"],
    summary="The groups that you may see",
    description="Those that you are in, and public ones.",
    parameters=PAGE_PARAMETERS,
    responses=page_of(serializers.GroupBody),
)
create_group = extend_schema(
    operation_id="create_group",
    tags=["groups"],
    summary="Make a group",
    description="You are the first admin of an assistant group. Amplify groups are made by administrators.",
    request=serializers.NewGroup,
    responses={201: serializers.GroupBody},
    examples=_examples({"name": "Chem 101", "members": {"bob": "read"}}, _GROUP),
)
read_group = extend_schema(
    operation_id="read_group",
    tags=["groups"],
    summary="One group",
    parameters=[_GROUP_ID],
    responses=serializers.GroupBody,
    examples=_examples(response=_GROUP),
)
change_group = extend_schema(
    operation_id="change_group",
    tags=["groups"],
    summary="Change a group",
    description="Only what the body names. By the group's admins; an amplify group by administrators.",
    parameters=[_GROUP_ID, _IF_MATCH],
    request=serializers.GroupChange,
    responses=serializers.GroupBody,
    examples=_examples({"isPublic": True}, _GROUP | {"isPublic": True}),
)
remove_group = extend_schema(
    operation_id="remove_group",
    tags=["groups"],
    summary="Remove a group",
    description="409 while another group includes it.",
    parameters=[_GROUP_ID, _IF_MATCH],
    responses={204: None},
)
set_member = extend_schema(
    operation_id="set_member",
    tags=["groups"],
    summary="Take somebody in, or change their role",
    parameters=[_GROUP_ID, _USER_ID, _IF_MATCH],
    request=serializers.Member,
    responses=serializers.GroupBody,
    examples=_examples({"role": "write"}, _GROUP),
)
remove_member = extend_schema(
    operation_id="remove_member",
    tags=["groups"],
    summary="Take somebody out, or leave",
    parameters=[_GROUP_ID, _USER_ID, _IF_MATCH],
    responses={204: None},
)

list_accounts = extend_schema(
    operation_id="list_accounts",
    tags=["accounts"],
    summary="The accounts that you may charge",
    parameters=PAGE_PARAMETERS,
    responses=page_of(serializers.AccountBody),
)
save_accounts = extend_schema(
    operation_id="save_accounts",
    tags=["accounts"],
    summary="Save your accounts",
    description="The whole list, in place of what there was. Not by an API key.",
    request=serializers.Accounts,
    responses=serializers.Accounts,
    examples=_examples(_ACCOUNTS, _ACCOUNTS),
)
