"""The OpenAPI document: it is the code's, and the service keeps it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from accounts.api.views import openapi_yaml
from tests.accounts.rest import signed_in
from tests.harness import ROOT, Service

DOCUMENT = ROOT / "docs" / "openapi.yaml"
WRITE = ".venv/bin/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_the_document_is_what_the_code_makes() -> None:
    """From within, as no request changes it."""
    assert DOCUMENT.read_text() == openapi_yaml().decode(), f"Write it anew: {WRITE}"


def test_every_operation_is_described() -> None:
    text = DOCUMENT.read_text()
    assert text.count("summary: ") >= text.count("operationId: ") > 0
    assert len(re.findall(r"operationId: ", text)) == len(set(re.findall(r"operationId: (\w+)", text)))


@pytest.mark.parametrize(
    ("user", "phases", "paths"),  # a user for each run, as who sends more than 600 a minute is slowed down
    [
        ("fuzzer-1", "examples,fuzzing", "/api/"),
        ("fuzzer-2", "coverage", "/api/groups/"),
        ("fuzzer-3", "coverage", "/api/(me|keys|accounts)/"),
        ("fuzzer-4", "coverage", "/api/(usage|budgets)/"),
    ],
)
def test_the_service_keeps_it_whatever_comes(
    service: Service, user: str, phases: str, paths: str, tmp_path: Path
) -> None:
    options = [f"--header={name}: {value}" for name, value in signed_in(service, user)[user].headers.items()]
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{service.url}/api/schema/", *options),
            *(
                f"--checks={CHECKS}",
                f"--phases={phases}",
                f"--include-path-regex={paths}",
                "--max-examples=12",
                "--generation-deterministic",
            ),
            *("--generation-with-security-parameters=false", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "mostly returned 429" not in done.stdout, done.stdout[-6000:]
