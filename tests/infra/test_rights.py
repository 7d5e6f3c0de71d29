"""What terraform/platform.tf lets the service do with the platform's tables, against what the service asks of them."""

import os
import re
import subprocess
import sys
from collections import defaultdict

import pytest

from tests.harness import ROOT

pytestmark = pytest.mark.infra

# The tests that work with the platform's tables, and what they call each of them.
SUITES = [
    "tests/accounts/test_stores_dynamodb.py",
    *(
        f"tests/usage/test_{name}.py"
        for name in ("delivery", "imports", "nightly", "platform_counters", "platform_limits")
    ),
]
VARIABLES = {
    "keys": "API_KEYS_DYNAMODB_TABLE",
    "groups": "ASSISTANT_GROUPS_DYNAMO_TABLE",
    "users": "COGNITO_USERS_DYNAMODB_TABLE",
    "accounts": "ACCOUNTS_DYNAMO_TABLE",
    "admin": "AMPLIFY_ADMIN_DYNAMODB_TABLE",
    "usage": "CHAT_USAGE_DYNAMO_TABLE",
    "costs": "COST_CALCULATIONS_DYNAMO_TABLE",
    "history": "HISTORY_COST_CALCULATIONS_DYNAMO_TABLE",
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The actions asked of each table."""
    file = tmp_path_factory.mktemp("asked") / "asked"
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "tests.infra.asked_of_tables", *SUITES]
    env = os.environ | {"ASKED_OF_TABLES": str(file)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    found = defaultdict(set)
    for line in file.read_text().splitlines():
        use, action = line.split()
        found[use].add(action)
    return found


@pytest.mark.parametrize("use", VARIABLES)
def test_the_service_may_do_what_it_asks_and_no_more(asked: dict[str, set[str]], use: str) -> None:
    text = (ROOT / "terraform" / "platform.tf").read_text()
    found = re.search(rf"{VARIABLES[use]} = \{{\n.*\n +may += \[(.*?)\]", text)
    assert found is not None
    assert set(re.findall(r"\w+", found.group(1))) == asked[use]
