"""The endpoints file in the platform's format, and what is said about a wrong one."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm.endpoints import MAX_WEIGHT, Endpoint, EndpointsError, base_endpoint, endpoint_of, read_endpoints_file
from tests.harness import CANARY

AZURE = "https://x.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"


def _file(folder: Path, content: Any) -> Path:
    path = folder / "endpoints.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_pools(tmp_path: Path) -> None:
    content = {
        "models": [
            {
                "gpt-4o": {
                    "endpoints": [{"url": AZURE, "key": "a"}, {"url": "https://b/v1/chat/completions", "key": "b"}]
                }
            },
            {"gpt-4o": {"endpoints": [{"url": "https://later", "key": "c"}]}},
        ]
    }
    pools = read_endpoints_file(_file(tmp_path, content))
    assert [e.headers for e in pools["gpt-4o"]] == [{"api-key": "a"}, {"Authorization": "Bearer b"}]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        [],
        {"models": {}},
        {"models": ["x"]},
        {"models": [{"m": {}}]},
        {"models": [{"m": {"endpoints": []}}]},
        {"models": [{"m": {"endpoints": [{"url": "ftp://x", "key": CANARY}]}}]},
        {"models": [{"m": {"endpoints": [{"url": "https://x"}]}}]},
    ],
)
def test_a_wrong_file_is_explained_without_its_keys(tmp_path: Path, content: Any) -> None:
    with pytest.raises(EndpointsError, match="LLM_ENDPOINTS_FILE: ") as error:
        read_endpoints_file(_file(tmp_path, content))
    assert CANARY not in str(error.value)


def _one(**more: Any) -> dict[str, Any]:
    return {"models": [{"m": {"endpoints": [{"url": "https://x/v1/chat/completions", "key": CANARY, **more}]}}]}


BAD_VALUES: dict[str, list[Any]] = {
    "weight": [0, -1, MAX_WEIGHT, "2", True, float("nan"), float("inf"), []],
    "maxConcurrent": [0, -1, 1.5, "2", True],
    "api": ["soap", "", 5, ["chat"]],
    "provider": ["", 5, ["openai"]],
    "url": [None, 5, "", "x", "http://", "https:///v1", "http://[x", "http://x:y/", "http://x:0/", "http://x:99999/"],
    "key": [None, 5],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values])
def test_a_bad_value_is_named_without_the_key(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(EndpointsError, match=f"LLM_ENDPOINTS_FILE: .*: m has an endpoint .*{name}") as error:
        read_endpoints_file(_file(tmp_path, _one(**{name: value})))
    assert CANARY not in str(error.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    path.write_bytes(b'{"models": "\xff"}')
    with pytest.raises(EndpointsError, match=r"LLM_ENDPOINTS_FILE: .*endpoints\.json is not JSON"):
        read_endpoints_file(path)


def test_what_may_be_said_of_an_endpoint(tmp_path: Path) -> None:
    said = _one(weight=0.5, maxConcurrent=3, api="anthropic", provider="bedrock")
    assert read_endpoints_file(_file(tmp_path, said))["m"] == (
        Endpoint(
            url="https://x/v1/chat/completions",
            key=CANARY,
            provider="bedrock",
            api="anthropic",
            weight=0.5,
            max_concurrent=3,
        ),
    )
    assert read_endpoints_file(_file(tmp_path, _one()))["m"] == (
        Endpoint(url="https://x/v1/chat/completions", key=CANARY),
    )
    unset = _one(weight=None, maxConcurrent=None, api=None, provider=None)
    assert read_endpoints_file(_file(tmp_path, unset)) == read_endpoints_file(_file(tmp_path, _one()))


def test_a_key_copied_with_its_line_end_is_a_key(tmp_path: Path) -> None:
    assert read_endpoints_file(_file(tmp_path, _one(key=" secret\n")))["m"][0].key == "secret"


@pytest.mark.parametrize(
    ("url", "provider", "api"),
    [
        ("https://api.openai.com/v1/chat/completions", "openai", "chat"),
        ("https://API.OpenAI.com/v1/responses", "openai", "responses"),
        ("https://eu.api.openai.com/v1/responses", "openai", "responses"),
        (AZURE, "azure", "chat"),
        ("https://x.openai.azure.com/openai/v1/responses", "azure", "responses"),
        ("https://x.cognitiveservices.azure.com/openai/deployments/d/chat/completions", "azure", "chat"),
        ("https://x.services.ai.azure.com/models/chat/completions", "azure", "chat"),
        ("https://api.anthropic.com", "anthropic", "anthropic"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com", "bedrock", "bedrock"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "bedrock", "bedrock"),
        ("https://vpce-1-a.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "bedrock", "bedrock"),
        ("https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1/chat/completions", "bedrock", "chat"),
        ("https://generativelanguage.googleapis.com/v1beta", "gemini", "gemini"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/chat/completions", "gemini", "chat"),
        ("http://localhost:11434/v1/chat/completions", "compatible", "chat"),
        ("https://vllm.example.edu/v1/responses?x=1", "compatible", "responses"),
    ],
)
def test_vendor_and_api_are_told_by_the_address_unless_said(url: str, provider: str, api: str) -> None:
    endpoint = endpoint_of(url, "k")
    assert (endpoint.provider, endpoint.api) == (provider, api)
    said = endpoint_of(url, "k", provider="compatible", api="chat")
    assert (said.provider, said.api) == ("compatible", "chat")


def test_a_name_shows_neither_key_nor_query() -> None:
    assert endpoint_of(f"https://user:{CANARY}@x:8443/v1?key={CANARY}", CANARY).name == "x:8443/v1"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EndpointsError, match="cannot be read"):
        read_endpoints_file(tmp_path / "nothing.json")


def test_a_key_is_not_in_the_repr() -> None:
    assert CANARY not in repr(Endpoint(url="https://x", key=CANARY))
    assert base_endpoint("http://localhost:11434/v1/", "").url == "http://localhost:11434/v1/chat/completions"
