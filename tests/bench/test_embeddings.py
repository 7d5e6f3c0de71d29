"""Embeddings: the vector follows from the text, and the faults of a whole answer are there."""

import base64
import math
from array import array
from typing import Any

import pytest

from bench.upstream.testing import Upstream
from tests.bench.vendors import KEY
from tests.bench.wire import Answer, post

PATHS = {
    "/v1/embeddings": {"authorization": f"Bearer {KEY}"},
    "/openai/v1/embeddings": {"api-key": KEY},
    "/openai/deployments/ada/embeddings?api-version=2024-10-21": {"api-key": KEY},
}


@pytest.fixture(params=list(PATHS))
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def embed(upstream: Upstream, path: str, *, patience: float = 5.0, **body: Any) -> Answer:
    return post(upstream, path, {"model": "mock", "input": "a text"} | body, PATHS[path], patience=patience)


def vectors(answer: Answer) -> list[list[float]]:
    assert [item["index"] for item in answer.json["data"]] == list(range(len(answer.json["data"])))
    return [item["embedding"] for item in answer.json["data"]]


def test_equal_texts_have_equal_unit_vectors_and_others_do_not(upstream: Upstream, path: str) -> None:
    first, other, again = vectors(embed(upstream, path, input=["a text", "another", "a text"]))
    assert first == again == vectors(embed(upstream, path))[0]
    assert (len(first), len(other)) == (1536, 1536)
    for vector in (first, other):
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)
    assert abs(sum(a * b for a, b in zip(first, other, strict=True))) < 0.2


def test_dimensions_token_numbers_and_base64(upstream: Upstream, path: str) -> None:
    floats = vectors(embed(upstream, path, input=[[1, 2], [3]], dimensions=8))
    assert [len(vector) for vector in floats] == [8, 8]
    coded = embed(upstream, path, input=[[1, 2], [3]], dimensions=8, encoding_format="base64")
    assert [array("f", base64.b64decode(text)).tolist() for text in vectors(coded)] == floats
    assert vectors(embed(upstream, path, input=[1, 2], dimensions=8)) == floats[:1]


def test_usage(upstream: Upstream, path: str) -> None:
    answer = embed(upstream, path, model="mock+in=42")
    assert answer.json["usage"] == {"prompt_tokens": 42, "total_tokens": 42}
    assert "usage" not in embed(upstream, path, model="mock+usage=never").json
    assert upstream.calls()[0]["outcome"] == "complete"


def test_the_plan_may_be_in_the_deployment(upstream: Upstream) -> None:
    path = "/openai/deployments/mock+in=7/embeddings?api-version=2024-10-21"
    assert post(upstream, path, {"input": "a"}, {"api-key": KEY}).json["usage"]["prompt_tokens"] == 7


@pytest.mark.parametrize("wrong", [{"input": []}, {"input": ""}, {"input": {}}, {"dimensions": 0}, {"model": None}])
def test_wrong_requests_are_refused(upstream: Upstream, wrong: dict[str, Any]) -> None:
    answer = embed(upstream, "/v1/embeddings", **wrong)
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_refusals(upstream: Upstream, path: str, status: int) -> None:
    answer = embed(upstream, path, model=f"mock+fault={status}")
    assert answer.status == status
    assert answer.json["error"]["message"]


def test_overflow(upstream: Upstream, path: str) -> None:
    answer = embed(upstream, path, model="mock+fault=overflow")
    assert (answer.status, answer.json["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize(("fault", "ended"), [("cut", "broken"), ("silent", "silent"), ("garbage", "end")])
def test_broken_answers(upstream: Upstream, path: str, fault: str, ended: str) -> None:
    answer = embed(upstream, path, model=f"mock+fault={fault}", patience=0.3)
    assert (answer.status, answer.ended) == (200, ended)
