"""Every fault in every vendor's language, as a caller of that vendor meets it."""

from typing import cast

import orjson
import pytest
from botocore.eventstream import ChecksumMismatch

from bench.upstream.plan import SPECIAL_FAULTS, Fault
from bench.upstream.testing import Upstream
from tests.bench.readers import aws, sse
from tests.bench.vendors import KEY, VENDORS, Vendor
from tests.bench.wire import PATIENCE, Answer, call, heard

PLAIN = "".join(f"w{n} " for n in range(4))
STATUSES = [400, 401, 404, 413, 429, 500, 503, 529]

# The kind of error in a refusal's body, by status.
OPENAI = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
AZURE = {
    401: "401",
    404: "DeploymentNotFound",
    413: "RequestEntityTooLarge",
    429: "429",
    500: "InternalServerError",
    503: "ServiceUnavailable",
    529: "InternalServerError",
}
GEMINI = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}
BEDROCK = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    404: "ResourceNotFoundException",
    413: "RequestEntityTooLargeException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}
ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}
KINDS = {
    "openai": OPENAI,
    "responses": OPENAI,
    "azure": AZURE,
    "azure-v1": AZURE,
    "azure-responses": AZURE,
    "gemini": GEMINI,
    "bedrock": BEDROCK,
    "anthropic": ANTHROPIC,
}


def kind_of(name: str, answer: Answer) -> str | None:
    if name == "bedrock":
        return answer.headers["x-amzn-errortype"]
    where = {"gemini": "status", "anthropic": "type"}.get(name, "code")
    return cast("str | None", answer.json["error"][where])


OVERFLOWS = {
    "openai": ("context_length_exceeded", b"maximum context length"),
    "azure": ("context_length_exceeded", b"maximum context length"),
    "azure-v1": ("context_length_exceeded", b"maximum context length"),
    "responses": ("context_length_exceeded", b"context window"),
    "azure-responses": ("context_length_exceeded", b"context window"),
    "gemini": ("INVALID_ARGUMENT", b"input token count"),
    "bedrock": ("ValidationException", b"Input is too long"),
    "anthropic": ("invalid_request_error", b"prompt is too long"),
}

TROUBLES = {
    "openai": ("server_error", "server_error", "rate_limit_exceeded", "server_is_overloaded", "invalid_request_error"),
    "responses": ("server_error", "server_error", "rate_limit_exceeded", "server_is_overloaded", "invalid_prompt"),
    "gemini": ("INTERNAL", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "INVALID_ARGUMENT"),
    "bedrock": (
        "modelStreamErrorException",
        "internalServerException",
        "throttlingException",
        "serviceUnavailableException",
        "validationException",
    ),
    "anthropic": ("overloaded_error", "api_error", "rate_limit_error", "overloaded_error", "invalid_request_error"),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", list(KINDS))
def test_refusals(upstream: Upstream, name: str, status: int, stream: bool) -> None:
    answer = call(upstream, VENDORS[name], f"mock+fault={status}+retry_after=7", stream=stream)
    assert (answer.status, kind_of(name, answer)) == (status, KINDS[name].get(status))
    assert answer.headers.get("retry-after") == ("7" if status in (429, 503) else None)
    assert (KEY in answer.data.decode()) == (status == 401)
    assert upstream.wait_until_ended()[0]["outcome"] == "fault"


def test_gemini_says_in_its_body_how_long_to_wait(upstream: Upstream) -> None:
    details = call(upstream, VENDORS["gemini"], "mock+fault=429+retry_after=7").json["error"]["details"]
    assert details == [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]


@pytest.mark.parametrize("name", list(OVERFLOWS))
def test_overflow(upstream: Upstream, name: str) -> None:
    code, words = OVERFLOWS[name]
    answer = call(upstream, VENDORS[name], "mock+fault=overflow+in=8")
    assert (answer.status, kind_of(name, answer)) == (400, code)
    assert words in answer.data
    assert b"8200" in answer.data


def test_an_unknown_setting_is_refused(upstream: Upstream, vendor: Vendor) -> None:
    answer = call(upstream, vendor, "mock+fualt=cut")
    assert answer.status == 404
    assert b"fualt" in answer.data


@pytest.mark.parametrize("fault", sorted(SPECIAL_FAULTS))
def test_a_fault_of_another_vendor_is_refused(upstream: Upstream, vendor: Vendor, fault: Fault) -> None:
    answer = call(upstream, vendor, f"mock+fault={fault}")
    if vendor is VENDORS["bedrock"]:
        assert answer.status == 200
    else:
        assert answer.status == 400
        assert f"fault={fault}".encode() in answer.data


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.harmless and fault not in SPECIAL_FAULTS])
def test_a_harmless_fault_is_a_whole_answer(upstream: Upstream, vendor: Vendor, fault: Fault, stream: bool) -> None:
    found = heard(upstream, vendor, f"mock+fault={fault}+headers=1+tokens=4", stream=stream)
    assert (len(found.reasons), found.ended, found.errors) == (1, True, [])
    assert bool(found.text) == (fault not in (Fault.EMPTY, Fault.TOOLS))
    assert found.usages[-1] == (10, 4, 0, 0, 0)
    assert upstream.wait_until_ended()[0]["outcome"] == "complete"


@pytest.mark.parametrize("fault", ["two-in-one", "split"])
def test_frames_share_and_cross_segments(upstream: Upstream, vendor: Vendor, fault: str) -> None:
    whole = call(upstream, vendor, "mock+tokens=4+text=plain+reasoning=1")
    bent = call(upstream, vendor, f"mock+tokens=4+text=plain+reasoning=1+fault={fault}")
    assert vendor.listen(bent.data).text == PLAIN
    assert len(vendor.decode(bent.data)) == len(vendor.decode(whole.data))
    assert (len(bent.chunks) < len(whole.chunks)) == (fault == "two-in-one")
    assert (len(bent.chunks) >= 4 * 10) == (fault == "split")


def test_characters_are_split_across_writes(upstream: Upstream, vendor: Vendor) -> None:
    bent = call(upstream, vendor, "mock+fault=utf8+tokens=4")
    straight = heard(upstream, vendor, "mock+text=emoji+tokens=4")
    assert vendor.listen(bent.data).text == straight.text
    assert sum(chunk[-1] >= 0xC0 for chunk in bent.chunks) >= 4


def test_huge_line(upstream: Upstream, vendor: Vendor) -> None:
    assert heard(upstream, vendor, "mock+fault=huge-line+size=400000+tokens=2").text.count("x") == 400_000


@pytest.mark.parametrize("fault", ["mute", "silent", "half-silent"])
def test_silence_lasts_until_the_caller_leaves(upstream: Upstream, vendor: Vendor, fault: str) -> None:
    first = 0.3 if fault == "mute" else PATIENCE
    answer = call(upstream, vendor, f"mock+fault={fault}+at=3+tokens=4+text=plain", patience=0.3, first=first)
    assert answer.ended == "silent"
    assert bool(answer.status) == (fault != "mute")
    said = vendor.listen(answer.data)
    assert (said.text, said.reasons, said.ended) == ("w0 w1 w2 " if fault == "half-silent" else "", [], False)
    record = upstream.wait_until_ended()[0]
    assert (record["outcome"], record["hung_up_at_frame"]) == ("hung_up", 3 if fault == "half-silent" else 0)


def test_cut_resets_in_the_middle_of_a_frame(upstream: Upstream, vendor: Vendor) -> None:
    answer = call(upstream, vendor, "mock+fault=cut+at=2+tokens=4+text=plain")
    assert answer.ended == "broken"
    said = vendor.listen(b"".join(answer.chunks))
    assert (said.text, said.reasons, said.ended) == ("w0 w1 ", [], False)
    assert upstream.wait_until_ended()[0]["outcome"] == "fault"


def test_close_ends_the_body_but_not_the_answer(upstream: Upstream, vendor: Vendor) -> None:
    answer = call(upstream, vendor, "mock+fault=close+at=2+tokens=4+text=plain")
    said = vendor.listen(answer.data)
    assert (answer.ended, answer.headers["connection"]) == ("end", "close")
    assert (said.text, said.reasons, said.ended) == ("w0 w1 ", [], False)


def test_no_done_leaves_out_the_last_word(upstream: Upstream, vendor: Vendor) -> None:
    answer = call(upstream, vendor, "mock+fault=no-done+tokens=4+text=plain")
    said = vendor.listen(answer.data)
    assert (answer.ended, said.text, said.ended) == ("end", PLAIN, False)


def test_garbage_is_one_frame_among_good_ones(upstream: Upstream, vendor: Vendor) -> None:
    chunks = call(upstream, vendor, "mock+fault=garbage+tokens=4+text=plain+at=2").chunks
    bad = [index for index, chunk in enumerate(chunks) if _unreadable(vendor, chunk)]
    assert len(bad) == 1
    del chunks[bad[0]]
    said = vendor.listen(b"".join(chunks))
    assert (said.text, said.ended) == (PLAIN, True)


def _unreadable(vendor: Vendor, chunk: bytes) -> bool:
    try:
        (aws if vendor is VENDORS["bedrock"] else sse)(chunk)
    except orjson.JSONDecodeError:
        return True
    return False


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("name", list(TROUBLES))
def test_an_error_comes_after_good_frames(upstream: Upstream, name: str, number: int) -> None:
    trouble = ("typical", "server", "rate-limit", "overloaded", "invalid")[number]
    found = heard(upstream, VENDORS[name], f"mock+fault=error-event+error={trouble}+at=2+tokens=4+text=plain")
    assert (found.text, found.reasons, found.ended) == ("w0 w1 ", [], False)
    assert found.errors == [TROUBLES[name][number]]
    assert upstream.wait_until_ended()[0]["outcome"] == "fault"


def test_html_instead_of_an_answer(upstream: Upstream, vendor: Vendor) -> None:
    answer = call(upstream, vendor, "mock+fault=html")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html")


@pytest.mark.parametrize(("fault", "ended"), [("cut", "broken"), ("close", "broken"), ("half-silent", "silent")])
def test_half_of_a_whole_answer(upstream: Upstream, vendor: Vendor, fault: str, ended: str) -> None:
    answer = call(upstream, vendor, f"mock+fault={fault}", stream=False, patience=0.3)
    assert (answer.status, answer.ended) == (200, ended)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(answer.data)


def test_one_frame_has_a_wrong_checksum(upstream: Upstream) -> None:
    bedrock = VENDORS["bedrock"]
    chunks = call(upstream, bedrock, "mock+fault=crc+tokens=4+text=plain+at=2").chunks
    with pytest.raises(ChecksumMismatch):
        aws(b"".join(chunks))
    with pytest.raises(ChecksumMismatch):
        aws(chunks.pop(3))
    said = bedrock.listen(b"".join(chunks))
    assert (said.text, said.ended) == (PLAIN, True)
