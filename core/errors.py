"""Every error a caller can meet, with the HTTP status and the code it is answered with.

    AmplifyError                        500 internal
    ├── BadRequest                      400 invalid_request
    │   └── UnknownModel                400 unknown_model
    ├── Unauthorized                    401 unauthorized
    ├── Forbidden                       403 forbidden
    ├── NotFound                        404 not_found
    ├── MethodNotAllowed                405 method_not_allowed
    ├── RequestTimeout                  408 request_timeout
    ├── Conflict                        409 conflict
    ├── PayloadTooLarge                 413 too_large
    ├── UnsupportedMediaType            415 unsupported_media_type
    ├── TooManyRequests                 429 too_many_requests    retryable
    │   └── BudgetExceeded              429 budget_exceeded
    ├── Unavailable                     503 unavailable          retryable
    │   └── Draining                    503 draining             retryable
    └── ModelFailed                     502 model_failed         retryable
        ├── ModelRefused                502 model_refused
        │   ├── ModelOverflowed         400 context_overflow
        │   └── ModelFiltered           400 content_filter
        ├── ModelInvalidOutput          502 model_invalid_output
        ├── ModelRejectedKey            502 model_rejected_key
        ├── ModelOutOfQuota             503 model_out_of_quota
        ├── ModelBusy                   503 model_busy           retryable
        ├── ModelTimedOut               504 model_timed_out      retryable
        ├── ModelUnreachable            502 model_unreachable    retryable
        └── ModelBrokeOff               502 model_broke_off      retryable

The message is a sentence for the person who has the problem and says what to do next. It never carries a vendor's
body, a key or a token.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar


class ConfigurationError(ValueError):
    """The service cannot start as it is set up; the message names the variable or file and says what is expected.

    Stands outside the tree: nobody but who starts the service meets it, as one line on the terminal (`manage.py`).
    """


class AmplifyError(Exception):
    """The root: something went wrong that nobody foresaw."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    headers: ClassVar[Mapping[str, str]] = {}
    default: ClassVar[str] = "Something went wrong on our side. Please try again; if it stays, tell your administrator."

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.default)

    @property
    def message(self) -> str:
        return str(self.args[0])

    def answer_headers(self) -> Mapping[str, str]:
        """The headers that the answer has because of it."""
        return self.headers

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON object that clients get: today's clients show `error`."""
        return {"error": self.message, "code": self.code, "requestId": request_id}

    def as_message(self) -> dict[str, Any]:
        """The same where there are no headers: as a message on a socket."""
        return {"code": self.code, "error": self.message}


class BadRequest(AmplifyError):
    status = 400
    code = "invalid_request"
    default = "Invalid request body."


class UnknownModel(BadRequest):
    code = "unknown_model"


class _Refused(AmplifyError):
    """Refusals of identity also answer `message`, where today's sister services look."""

    def body(self, request_id: str) -> dict[str, Any]:
        return super().body(request_id) | {"message": self.message}


class Unauthorized(_Refused):
    status = 401
    code = "unauthorized"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}
    default = "Unauthorized: send your API key as `Authorization: Bearer <key>`."


class Forbidden(_Refused):
    status = 403
    code = "forbidden"
    default = "You may not do this."


class NotFound(_Refused):
    status = 404
    code = "not_found"
    default = "Not found."


class MethodNotAllowed(AmplifyError):
    status = 405
    code = "method_not_allowed"


class Conflict(AmplifyError):
    status = 409
    code = "conflict"
    default = "Somebody else has changed this in the meantime. Read it again and repeat your change."


class RequestTimeout(AmplifyError):
    status = 408
    code = "request_timeout"
    default = "The request body did not arrive in time. Please send it again."


class PayloadTooLarge(AmplifyError):
    status = 413
    code = "too_large"


class UnsupportedMediaType(AmplifyError):
    status = 415
    code = "unsupported_media_type"
    default = "Send JSON, with the header `Content-Type: application/json`."


class TooManyRequests(AmplifyError):
    status = 429
    code = "too_many_requests"
    retryable = True
    default = "Too many requests. Please wait a moment and try again."

    def __init__(self, message: str = "", *, retry_after: float) -> None:
        """`retry_after`: seconds until it is worth another try."""
        super().__init__(message)
        self.retry_after = retry_after

    def answer_headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(ceil(self.retry_after))}

    def as_message(self) -> dict[str, Any]:
        return super().as_message() | {"retryAfter": ceil(self.retry_after)}


class BudgetExceeded(TooManyRequests):
    """A limit on what may be spent has no room for the request."""

    code = "budget_exceeded"
    retryable = False

    def __init__(self, message: str, *, details: Mapping[str, Any], retry_after: float | None) -> None:
        """`details`: which limit, how much is spent and when it begins anew, as it goes into the answer.
        `retry_after`: seconds until then; None if it never does."""
        super().__init__(message, retry_after=retry_after or 0.0)
        self.details = details
        self.resets = retry_after is not None

    def answer_headers(self) -> Mapping[str, str]:
        return super().answer_headers() if self.resets else self.headers

    def body(self, request_id: str) -> dict[str, Any]:
        return super().body(request_id) | dict(self.details)

    def as_message(self) -> dict[str, Any]:
        message = super().as_message() | dict(self.details)
        return message if self.resets else {name: message[name] for name in message if name != "retryAfter"}


class Unavailable(AmplifyError):
    status = 503
    code = "unavailable"
    retryable = True
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "2"}
    default = "The service cannot answer at the moment. Please try again in a few seconds."


class Draining(Unavailable):
    code = "draining"
    default = "This server is being replaced and takes no new requests. Please send the request again."


class ModelFailed(AmplifyError):
    """The model's vendor failed; the base serves for what fits none of the kinds below."""

    status = 502
    code = "model_failed"
    retryable = True
    endpoint_failed: ClassVar[bool] = True
    """Another endpoint, or another model, may well answer the same request."""
    default = "The model could not answer. Please try again or choose another model."

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds that the vendor asked to wait."""
        super().__init__(message)
        self.retry_after = retry_after

    def answer_headers(self) -> Mapping[str, str]:
        return self.headers if self.retry_after is None else {"Retry-After": str(ceil(self.retry_after))}


class ModelRefused(ModelFailed):
    code = "model_refused"
    retryable = False
    endpoint_failed = False
    default = "The model's vendor did not accept this request. Shorten it, or choose another model."


class ModelOverflowed(ModelRefused):
    status = 400
    code = "context_overflow"
    default = "The conversation is too long for this model. Start a new one, send less, or choose a larger model."


class ModelFiltered(ModelRefused):
    status = 400
    code = "content_filter"
    default = "The model's vendor blocked this by its content filter. Please put it in other words."


class ModelInvalidOutput(ModelFailed):
    code = "model_invalid_output"
    retryable = False
    endpoint_failed = False
    default = "The model's answer does not have the form that was asked for. Please try again or choose another model."


class ModelRejectedKey(ModelFailed):
    code = "model_rejected_key"
    retryable = False
    default = "The model's vendor rejected our credentials. Please tell your administrator, or choose another model."


class ModelOutOfQuota(ModelFailed):
    status = 503
    code = "model_out_of_quota"
    retryable = False
    default = "Our quota with this model's vendor is used up. Tell your administrator, or choose another model."


class ModelBusy(ModelFailed):
    status = 503
    code = "model_busy"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "5"}
    default = "Too many requests for this model at the moment. Please wait a little or choose another model."


class ModelTimedOut(ModelFailed):
    status = 504
    code = "model_timed_out"
    default = "The model took too long to answer. Please try again or choose another model."


class ModelUnreachable(ModelFailed):
    code = "model_unreachable"
    default = "The model's server cannot be reached. Please try again or choose another model."


class ModelBrokeOff(ModelFailed):
    code = "model_broke_off"
    default = "The model broke off in the middle of its answer. Please try again."
