"""Bodies of many megabytes: read off the loop, by the same rules as small ones.

Unit tests: through the door one sees that a large body is answered (tests/e2e/test_openai.py), not who was held up.
"""

import base64
from typing import Any

import orjson
import pytest

from chat.schema.base import INLINE_BYTES, parsed
from chat.schema.chat import parse_chat
from chat.schema.completions import CompletionRequest, parse_completion
from core.aio import COMPUTING
from core.errors import BadRequest
from llm.messages import Image
from llm.testing import LoopTicks

IMAGE = base64.b64encode(bytes(range(256)) * (9 * 2**12)).decode()


def _body(url: str, **more: Any) -> bytes:
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    return orjson.dumps({"model": "m", "messages": [{"role": "user", "content": parts}], **more})


LARGE = _body(f"data:image/png;base64,{IMAGE}")


async def _parsed(body: bytes) -> CompletionRequest:
    return await parsed(parse_completion, body, size=len(body))


async def test_the_loop_goes_on_while_a_large_body_is_read() -> None:
    with LoopTicks() as ticks:
        request = await _parsed(LARGE)
    # Read on the loop, it would be one.
    assert ticks.count > 5
    (image,) = request.question("").request.messages[0].parts_of(Image)
    assert (image.media_type, image.base64) == ("image/png", IMAGE)


async def test_a_small_body_goes_to_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hop(*_: Any) -> CompletionRequest:
        raise AssertionError("went to a thread")

    monkeypatch.setattr(COMPUTING, "run", hop)
    assert (await _parsed(_body("https://example.org/a.png"))).model == "m"
    with pytest.raises(AssertionError, match="went to a thread"):
        await _parsed(LARGE)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (LARGE[:-1], r"Invalid JSON in request body: .*column"),
        (b'"' + b"x" * INLINE_BYTES + b'"', "send a JSON object"),
        (LARGE.replace(b'"m"', b"[" * 5_000, 1), "Invalid JSON"),
        (LARGE.replace(b'"m"', b"NaN", 1), "Invalid JSON"),
        (LARGE.replace(b'"m"', b'"\xff"', 1), "Invalid JSON"),
        (_body(f"data:image/png;base64,{IMAGE[:-5]}"), r"parts\[1\]\.\S* is not valid base64"),
        (_body(f"data:image/png;base64,{IMAGE[:400_000]}=={IMAGE}"), "is not valid base64"),
        (_body(f"data:image/png;base64,{IMAGE[:400_000]}%{IMAGE}"), "is not valid base64"),
        (_body(f"data:image/png;base64,{IMAGE}", n=2), "n should be 1"),
    ],
    ids=["cut", "no object", "too deep", "NaN", "no UTF-8", "cut image", "padding amid", "no base64", "n"],
)
async def test_mistakes_are_named_as_in_small_ones(body: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        await _parsed(body)


async def test_a_schema_may_be_as_deep_as_in_a_small_one() -> None:
    schema: dict[str, Any] = {}
    for _ in range(230):  # more than one of the two readers takes
        schema = {"not": schema}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert (await _parsed(_body(f"data:image/png;base64,{IMAGE}", tools=[tool]))).tools
    assert (await _parsed(_body("https://example.org/a.png", tools=[tool]))).tools


@pytest.mark.parametrize("text", ["", "YQ==", "YWI=", "YWJj", "YWJjZA=="])
@pytest.mark.parametrize("wrong", ["Y", "YQ=", "Y===", "=", "YQ==YQ==", "YW Jj", "YWJj\n", "ÄÄÄÄ", "-_-_"])
def test_only_base64_is_an_image(text: str, wrong: str) -> None:
    def ask(data: str) -> Any:
        return parse_chat(orjson.loads(_body(f"data:image/png;base64,{data}")))

    assert ask(text).question().request.messages[0].parts[1] == Image(media_type="image/png", base64=text)
    with pytest.raises(BadRequest, match="is not valid base64"):
        ask(wrong)
