"""What the documents name exists, and what exists is documented."""

import re

from amplify_chat.env import read_env, variables
from tests.harness import ROOT


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE))
    assert documented == set(variables())


def test_the_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z][a-z-]*)", (ROOT / "README.md").read_text())) <= targets


def test_defaults_need_no_variable() -> None:
    env = read_env({})
    assert (env.host, env.port, env.embedded_model, env.allowed_origins) == ("127.0.0.1", 8080, True, ("*",))


def test_secrets_are_not_in_the_repr() -> None:
    env = read_env({"OPENAI_API_KEY": "canary-1", "SECRET_KEY": "canary-2", "DATABASE_URL": "sqlite:///canary-3"})
    assert "canary" not in repr(env)
