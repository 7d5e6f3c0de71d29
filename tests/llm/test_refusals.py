"""What vendors' error answers mean. Wordings as the vendors write them (their API references and public bug reports).

Unit tests: a pure function over many cases; the contract tests and tests/e2e go through the wire.
"""

import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import (
    ModelBusy,
    ModelFailed,
    ModelFiltered,
    ModelOutOfQuota,
    ModelOverflowed,
    ModelRefused,
    ModelRejectedKey,
    ModelTimedOut,
)
from llm.refusals import MAX_RETRY_AFTER_SECONDS, json_object, judge, retry_after
from tests.harness import CANARY

STATUSES = {
    302: ModelFailed,
    307: ModelFailed,
    400: ModelRefused,
    401: ModelRejectedKey,
    402: ModelOutOfQuota,
    403: ModelRejectedKey,
    404: ModelFailed,
    405: ModelFailed,
    408: ModelTimedOut,
    413: ModelOverflowed,
    422: ModelRefused,
    429: ModelBusy,
    500: ModelFailed,
    502: ModelFailed,
    503: ModelTimedOut,
    504: ModelTimedOut,
    520: ModelFailed,
    529: ModelBusy,
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_statuses(status: int, kind: type[ModelFailed]) -> None:
    error = judge(status, {}, "", "")
    assert type(error) is kind
    assert error.endpoint_failed is not issubclass(kind, ModelRefused)


OVERFLOWS = [
    ("context_length_exceeded", "This model's maximum context length is 8192 tokens. However, your messages"),
    ("context_length_exceeded", "Your input exceeds the context window of this model. Please adjust your input"),
    ("invalid_request_error", "prompt is too long: 205000 tokens > 200000 maximum"),
    ("invalid_request_error", "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
    ("INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    ("INVALID_ARGUMENT", "The input token count exceeds the maximum number of tokens allowed 1048576."),
    ("ValidationException", "Input is too long for requested model."),
    ("ValidationException", "The model returned the following errors: prompt is too long: 1 tokens > 2 maximum"),
    ("ValidationException", "Too many input tokens. Max input tokens: 8192, request input token count: 9000"),
    ("ValidationException", "This model's maximum context length is 8192 tokens. Please reduce the prompt"),
    ("", "too many tokens: total number of tokens in the prompt cannot exceed 4081"),
    ("exceed_context_size_error", "the request exceeds the available context size, try increasing it"),
    ("BadRequestError", "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    ("", "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"),
    ("", "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
]


@pytest.mark.parametrize(("code", "message"), OVERFLOWS)
def test_what_is_too_long(code: str, message: str) -> None:
    assert type(judge(400, {}, code, message)) is ModelOverflowed


LIMITS = [
    (429, "rate_limit_exceeded", "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 36000."),
    (429, "rate_limit_exceeded", "Rate limit reached for gpt-4o on tokens per min (TPM). Too many tokens."),
    (429, "429", "Requests have exceeded token rate limit of your current AIServices S0 pricing tier."),
    (429, "rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit"),
    (429, "rate_limit_error", "This request would exceed the rate limit of 40,000 input tokens per minute"),
    (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    (429, "ThrottlingException", "Too many tokens, please wait before trying again."),
    (429, "ThrottlingException", "Too many tokens per day, please wait before trying again."),
    (529, "overloaded_error", "Overloaded: too many tokens"),
]


@pytest.mark.parametrize(("status", "code", "message"), LIMITS)
def test_a_rate_limit_that_speaks_of_tokens_is_no_overflow(status: int, code: str, message: str) -> None:
    error = judge(status, {"retry-after": "7"}, code, message)
    assert type(error) is ModelBusy and error.retry_after == 7.0


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("invalid_value", "max_tokens is too large: 100000. This model supports at most 16384 completion tokens"),
        ("invalid_request_error", "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens"),
        ("ValidationException", "The maximum tokens you requested exceeds the model limit of 200. Try again."),
        ("invalid_request_error", "messages.0.content.1.image.source: image exceeds 5 MB maximum: 6000000 bytes"),
        ("ValidationException", "The guardrail identifier or version provided in the request does not exist."),
        ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        ("unsupported_parameter", "Unsupported parameter: 'max_tokens' is not supported with this model."),
    ],
)
def test_other_mistakes_are_neither_too_long_nor_filtered(code: str, message: str) -> None:
    assert type(judge(400, {}, code, message)) is ModelRefused


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("content_filter", "The response was filtered due to the prompt triggering Azure OpenAI's content policy."),
        ("400", "The prompt triggered Azure OpenAI's content management policy. Please modify your prompt"),
        ("content_policy_violation", "Your request was rejected as a result of our safety system."),
        ("invalid_prompt", "Your prompt was flagged as potentially violating our usage policy. Please try again"),
        ("invalid_request_error", "Output blocked by content filtering policy"),
        ("ResponsibleAIPolicyViolation", ""),
        ("", "Violated guardrail policy"),
    ],
)
def test_what_was_filtered(code: str, message: str) -> None:
    assert type(judge(400, {}, code, message)) is ModelFiltered


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "insufficient_quota"), (429, "billing_not_active"), (400, "billing_hard_limit_reached")],
)
def test_what_is_not_paid_for(status: int, code: str) -> None:
    assert type(judge(status, {"retry-after": "7"}, code, "You exceeded your current quota")) is ModelOutOfQuota


@pytest.mark.parametrize("status", STATUSES)
def test_the_vendors_text_goes_nowhere(status: int) -> None:
    error = judge(status, {}, CANARY, f"Incorrect API key provided: {CANARY}. content_filter, too long")
    assert CANARY not in repr(error) + error.message + str(error.body("r")) + str(error.answer_headers())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "86400"}, MAX_RETRY_AFTER_SECONDS),
        ({"Retry-After": "1e999"}, MAX_RETRY_AFTER_SECONDS),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "60s"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"retry-after-ms": "soon", "Retry-After": "1"}, 1.0),
        ({"retry-after-ms": "-5"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00"}, 0.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_RETRY_AFTER_SECONDS),
        ({"Retry-After": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 +9999999999999999999"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("zone", [timedelta(0), timedelta(hours=-7)])
def test_retry_after_as_a_date(zone: timedelta) -> None:
    moment = (datetime.now(UTC) + timedelta(seconds=90)).astimezone(timezone(zone))
    seconds = retry_after({"Retry-After": format_datetime(moment)})
    # Dates have whole seconds.
    assert seconds is not None and 80 < seconds <= 90


DATE_PARTS = st.sampled_from(["Wed,", "21", "Oct", "2015", "07:28:00", "GMT", "-0000", "+2400", "9" * 30, ":", "x", ""])


@given(st.text(max_size=40) | st.lists(DATE_PARTS, max_size=8).map(" ".join))
def test_whatever_stands_in_retry_after_is_no_failure_of_ours(text: str) -> None:
    for name in ("Retry-After", "retry-after-ms"):
        seconds = retry_after({name: text})
        assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= MAX_RETRY_AFTER_SECONDS)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"error": 1}', {"error": 1}),
        (b'[{"error": 1}]', {"error": 1}),
        (b"[]", {}),
        (b"3", {}),
        (b"<html>", {}),
        (b"", {}),
        (b"\xff", {}),
    ],
)
def test_error_bodies_of_any_shape(body: bytes, found: dict[str, int]) -> None:
    assert json_object(body) == found
