"""Amazon Bedrock's ConverseStream, signed and read without Amazon's HTTP client.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html (errors),
https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html (keys),
https://docs.aws.amazon.com/general/latest/gr/bedrock.html (hosts).
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import quote, urlsplit

import orjson
from yarl import URL

from core.aio import COMPUTING
from core.aws import AwsCredentials, signed_post
from core.errors import (
    ModelBrokeOff,
    ModelBusy,
    ModelFailed,
    ModelInvalidOutput,
    ModelRejectedKey,
    ModelTimedOut,
)
from llm.endpoints import Endpoint
from llm.events import Event
from llm.eventstream import EventStreamDecoder, Frame
from llm.messages import ModelRequest
from llm.model import ModelCard
from llm.providers.converse import ConverseAnswer, Guardrail, to_wire
from llm.refusals import json_object, judge
from llm.sse import WRONG_SHAPE, failure_of
from llm.vendor import LARGE_BODY_BYTES, WireCall, wire_body

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_SERVICE = "bedrock"
_REGION = re.compile(r"bedrock-runtime(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.")
# What Bedrock's exceptions mean, whatever status they come with.
_STATUS = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "InvalidSignatureException": 403,
    "UnrecognizedClientException": 403,
    "ThrottlingException": 429,
    "ServiceQuotaExceededException": 429,
    "ModelNotReadyException": 429,
    "ServiceUnavailableException": 503,
    "ModelTimeoutException": 408,
    "ModelErrorException": 500,
    "ModelStreamErrorException": 500,
    "InternalServerException": 500,
    "ResourceNotFoundException": 404,
    "ValidationException": 400,
}


class BedrockReader:
    """Reads one answer's event stream."""

    __slots__ = ("_answer", "_decoder", "done", "failure")

    def __init__(self) -> None:
        self._decoder = EventStreamDecoder()
        self._answer = ConverseAnswer()
        self.done = False
        """The metadata has come, behind which Bedrock sends nothing; or a failure that nothing follows."""
        self.failure: ModelFailed | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            for frame in self._decoder.feed(chunk):
                events.extend(self._events(frame))
        except (*WRONG_SHAPE, ModelFailed) as error:
            self.failure, self.done = failure_of(error), True
        return events

    def _events(self, frame: Frame) -> Iterator[Event]:
        if frame.headers[":message-type"] != "event":
            raise _stream_failure(frame)
        kind = frame.headers[":event-type"]
        try:
            yield from self._answer.translate(kind, orjson.loads(frame.payload))
        except ModelInvalidOutput as error:
            self.failure = error  # the metadata follows all the same, and says what it has cost
        self.done = self.done or kind == "metadata"


def _stream_failure(frame: Frame) -> ModelFailed:
    """What an exception inside a stream means, that was answered with 200."""
    match frame.headers.get(":exception-type") or frame.headers.get(":error-code"):
        case "throttlingException":
            return ModelBusy()
        case "modelTimeoutException":
            return ModelTimedOut()
        case "validationException":
            return judge(400, {}, "ValidationException", str(json_object(frame.payload).get("message") or ""))
        case _:
            return ModelBrokeOff()


class Bedrock:
    """The provider; an endpoint's URL is the base, https://bedrock-runtime.us-east-1.amazonaws.com.

    An endpoint's key is a Bedrock API key; without one the call is signed.
    """

    def __init__(
        self, credentials: AwsCredentials | None = None, *, region: str = "", guardrail: Guardrail | None = None
    ) -> None:
        """`region` serves for endpoints whose host does not name theirs."""
        self._credentials = credentials or AwsCredentials()
        self._region = region
        self._to_wire = partial(to_wire, guardrail=guardrail)

    async def call(self, card: ModelCard, endpoint: Endpoint, request: ModelRequest) -> WireCall:
        url = _url(endpoint, card)
        body = await wire_body(self._to_wire, card, request)
        if endpoint.key:
            headers: Mapping[str, str] = {"Authorization": f"Bearer {endpoint.key}"}
        else:
            headers = await self._signed(url, body)
        return WireCall(url=url, body=body, headers=headers, content_type=CONTENT_TYPE)

    async def _signed(self, url: str, body: bytes) -> Mapping[str, str]:
        region = self._region_of(url)
        sign = partial(signed_post, url, body, await self._credentials.keys(), service=_SERVICE, region=region)
        # All of a body is hashed for its signature.
        return sign() if len(body) < LARGE_BODY_BYTES else await COMPUTING.run(sign)

    def _region_of(self, url: str) -> str:
        found = _REGION.search(urlsplit(url).hostname or "")
        if not (region := found[1] if found else self._region):
            raise ModelRejectedKey(
                "It is not known in which AWS region this model's endpoint is. Tell your administrator to set "
                "AWS_REGION. Meanwhile, choose another model."
            )
        return region

    def reader(self) -> BedrockReader:
        return BedrockReader()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
        """Errors of AWS's JSON protocol: the name in a header or in `__type`, with a namespace or an address."""
        content = json_object(body)
        name = headers.get("x-amzn-errortype") or headers.get("x-amzn-ErrorType") or str(content.get("__type") or "")
        name = name.split(":")[0].rpartition("#")[2]
        message = content.get("message") or content.get("Message") or ""
        return judge(_STATUS.get(name, status), headers, name, str(message))


def _url(endpoint: Endpoint, card: ModelCard) -> str:
    """Written as aiohttp writes it, because that is what is signed: yarl leaves `:` as it is, and `%2F` too."""
    return str(URL(f"{endpoint.url.rstrip('/')}/model/{quote(card.wire_id, safe='')}/converse-stream"))
