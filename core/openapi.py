"""How our REST APIs are described in OpenAPI (drf-spectacular), whichever app they belong to."""

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

PAGE_PARAMETERS = [
    OpenApiParameter("limit", OpenApiTypes.INT, description="How many at once, up to 500; 100 if left out."),
    OpenApiParameter("offset", OpenApiTypes.INT, description="How many to skip."),
]


_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Every error is one such object.",
    "required": ["error", "code", "requestId"],
    "properties": {
        "error": {"type": "string", "description": "A sentence that says what to do next."},
        "code": {"type": "string", "description": "For programs; never changes."},
        "requestId": {"type": "string", "description": "Name it when you ask for help."},
        "message": {"type": "string", "description": "The sentence again, with 401, 403 and 404."},
        "fields": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "With a body that is refused: what is wrong where.",
        },
    },
    "example": {
        "error": "name: This field is required.",
        "code": "invalid_request",
        "requestId": "req-5f0c1d2e3a4b5c6d7e8f9a0b",
        "fields": {"name": "This field is required."},
    },
}
_ERROR_RESPONSE = {
    "description": "Any error. 401: nobody known; 403: not with this credential; 404: not there, or not yours to see; "
    "409: changed meanwhile; 429: too many a minute, wait for `Retry-After` seconds.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


class ApiSchema(AutoSchema):
    """Adds to each operation what all of them answer when something is wrong; says nothing that is not written for
    readers of the document."""

    def get_description(self, *_: Any) -> str:
        return ""  # not the view's docstring

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> Any:
        bodies = super()._get_response_bodies(direction)
        return {**bodies, "default": {"$ref": "#/components/responses/Error"}}


def add_error(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: what `ApiSchema` refers to."""
    components = result["components"]
    components["schemas"] = dict(sorted({**components["schemas"], "Error": _ERROR_SCHEMA}.items()))
    components["responses"] = {"Error": _ERROR_RESPONSE}
    return result


def page_of(serializer: type[serializers.Serializer[Any]], **more: Any) -> Any:
    """The body of a page of such things; `more` are fields that stand beside them."""
    return inline_serializer(
        f"{serializer.__name__.removesuffix('Body')}Page",
        {
            "count": serializers.IntegerField(help_text="How many there are in all."),
            "next": serializers.URLField(allow_null=True),
            "previous": serializers.URLField(allow_null=True),
            "results": serializer(many=True),
            **more,
        },
    )
