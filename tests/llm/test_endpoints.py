"""The endpoints file in the platform's format, and what is said about a wrong one."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm.endpoints import Endpoint, EndpointsError, base_endpoint, read_endpoints_file
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EndpointsError, match="cannot be read"):
        read_endpoints_file(tmp_path / "nothing.json")


def test_a_key_is_not_in_the_repr() -> None:
    assert CANARY not in repr(Endpoint(url="https://x", key=CANARY))
    assert base_endpoint("http://localhost:11434/v1/", "").url == "http://localhost:11434/v1/chat/completions"
