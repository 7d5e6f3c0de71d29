"""The addresses of the REST API: from a request to an action, and from what it gives to an answer."""

from functools import cache
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.views import SpectacularSwaggerView
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import Caller
from accounts.actions.accounts import list_accounts, save_accounts
from accounts.actions.groups import (
    change_group,
    create_group,
    find_group,
    list_groups,
    remove_group,
    remove_member,
    set_member,
)
from accounts.actions.keys import change_key, create_key, find_key, list_keys, revoke_key, rotate_key
from accounts.api import described, serializers
from accounts.api.authentication import FromTheDoor
from accounts.stores import Group
from core.errors import BadRequest, NotFound
from core.rest import JsonView, Pages


class ApiView(JsonView):
    """For whoever has shown who they are. Raises what the door found wrong with them."""

    authentication_classes = (FromTheDoor,)

    @property
    def default_response_headers(self) -> dict[str, str]:
        # Some answers show a key, and none is worth keeping.
        return {**super().default_response_headers, "Cache-Control": "no-store"}

    def by(self) -> Caller:
        caller = self.request.auth
        assert isinstance(caller, Caller)
        return caller

    def body(self, kind: Any, *, partial: bool = False) -> Any:
        """The request's body as this serializer reads it. Raises ValidationError."""
        serializer = kind(data=self.request.data, partial=partial)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def page(self, request: Request, things: Any, kind: Any, **context: Any) -> Response:
        pages = Pages()
        shown = pages.paginate_queryset(list(things), request, view=self)
        return pages.get_paginated_response(kind(shown, many=True, context=context).data)


class MeView(ApiView):
    @described.me
    def get(self, request: Request) -> Response:
        return Response(serializers.Me(self.by().principal).data)


class KeysView(ApiView):
    @described.list_keys
    def get(self, request: Request) -> Response:
        return self.page(request, list_keys(by=self.by()), serializers.Key)

    @described.create_key
    def post(self, request: Request) -> Response:
        issued = create_key(by=self.by(), **self.body(serializers.NewKey))
        return Response(serializers.IssuedKey(issued).data, status=201)


class KeyView(ApiView):
    @described.read_key
    def get(self, request: Request, key_id: UUID) -> Response:
        return Response(serializers.Key(find_key(by=self.by(), key_id=key_id)).data)

    @described.change_key
    def patch(self, request: Request, key_id: UUID) -> Response:
        changes = self.body(serializers.KeyChange, partial=True)
        return Response(serializers.Key(change_key(by=self.by(), key_id=key_id, **changes)).data)


class KeyRotationView(ApiView):
    @described.rotate_key
    def post(self, request: Request, key_id: UUID) -> Response:
        return Response(serializers.IssuedKey(rotate_key(by=self.by(), key_id=key_id)).data)


class KeyRevocationView(ApiView):
    @described.revoke_key
    def post(self, request: Request, key_id: UUID) -> Response:
        return Response(serializers.Key(revoke_key(by=self.by(), key_id=key_id)).data)


class _GroupsBase(ApiView):
    def shown(self, group: Group, status: int = 200) -> Response:
        body = serializers.GroupBody(group, context={"principal": self.by().principal}).data
        return Response(body, status=status, headers={"ETag": f'"{group.version}"'})

    def version(self) -> str | None:
        """The version that `If-Match` names, quoted or not; None for any."""
        given = self.request.headers.get("If-Match", "").strip()
        return given.removeprefix("W/").strip('"') if given not in ("", "*") else None


class GroupsView(_GroupsBase):
    @described.list_groups
    def get(self, request: Request) -> Response:
        by = self.by()
        return self.page(request, list_groups(by=by), serializers.GroupBody, principal=by.principal)

    @described.create_group
    def post(self, request: Request) -> Response:
        return self.shown(create_group(by=self.by(), **self.body(serializers.NewGroup)), status=201)


class GroupView(_GroupsBase):
    @described.read_group
    def get(self, request: Request, group_id: str) -> Response:
        return self.shown(find_group(by=self.by(), group_id=checked(group_id)))

    @described.change_group
    def patch(self, request: Request, group_id: str) -> Response:
        changes = self.body(serializers.GroupChange, partial=True)
        return self.shown(change_group(by=self.by(), group_id=checked(group_id), version=self.version(), **changes))

    @described.remove_group
    def delete(self, request: Request, group_id: str) -> Response:
        remove_group(by=self.by(), group_id=checked(group_id), version=self.version())
        return Response(status=204)


class MemberView(_GroupsBase):
    @described.set_member
    def put(self, request: Request, group_id: str, user_id: str) -> Response:
        role = self.body(serializers.Member)["role"]
        names = {"group_id": checked(group_id), "user_id": checked(user_id)}
        return self.shown(set_member(by=self.by(), role=role, version=self.version(), **names))

    @described.remove_member
    def delete(self, request: Request, group_id: str, user_id: str) -> Response:
        names = {"group_id": checked(group_id), "user_id": checked(user_id)}
        remove_member(by=self.by(), version=self.version(), **names)
        return Response(status=204)


class AccountsView(ApiView):
    @described.list_accounts
    def get(self, request: Request) -> Response:
        return self.page(request, list_accounts(by=self.by()), serializers.AccountBody)

    @described.save_accounts
    def put(self, request: Request) -> Response:
        saved = save_accounts(by=self.by(), accounts=self.body(serializers.Accounts))
        return Response({"accounts": serializers.AccountBody(saved, many=True).data})


class SchemaView(JsonView):
    """For everybody: what the API looks like is no secret."""

    @described.hidden
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(openapi_yaml(), content_type="application/yaml; charset=utf-8")


@cache
def openapi_yaml() -> bytes:
    """The OpenAPI document, made once: it takes a while, and whoever asks has shown nothing."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return bytes(OpenApiYamlRenderer().render(schema, renderer_context={}))  # type: ignore[no-untyped-call]


class DocsView(SpectacularSwaggerView):
    """Reads `/api/schema/` in the browser; its files come with the service."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()


class NoSuchAddress(JsonView):
    @described.hidden
    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound("There is nothing at this address. See /api/docs/.")


def checked(name: str) -> str:
    """An id out of an address. Raises BadRequest for what cannot be one."""
    if not name.isprintable() or len(name) > serializers.MAX_ID:
        raise BadRequest(f"An id has at most {serializers.MAX_ID} characters, and no control characters.")
    return name
