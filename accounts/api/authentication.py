"""Who is asking, as the door (`accounts.api.asgi`) has found out."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.actions import Caller
from accounts.principal import Principal
from core.errors import AmplifyError, Unauthorized
from core.rest import request_id_of


class FromTheDoor(BaseAuthentication):
    """`request.user` is the Principal, `request.auth` the Caller that actions take."""

    def authenticate(self, request: Request) -> tuple[Principal, Caller]:
        """Raises what the door's question ended with: Unauthorized, Forbidden, NotFound, Unavailable."""
        found = getattr(request._request, "scope", {}).get("caller")
        match found:
            case Principal():
                return found, Caller(principal=found, request_id=request_id_of(request))
            case AmplifyError():
                raise found
        raise Unauthorized  # a request that did not come by the door


class _Described(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = FromTheDoor
    name = ["key", "session"]  # noqa: RUF012 - of the base class

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]  # one of them is enough

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        bearer = "An API key (`amp-v1-…`), or an access token of the sign-in service."
        cookie = "The session of somebody who signed in at `/login/`; counts only from the service's own pages."
        return [
            {"type": "http", "scheme": "bearer", "description": bearer},
            {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": cookie},
        ]
