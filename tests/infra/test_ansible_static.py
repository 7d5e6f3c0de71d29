"""What can be said about playbooks and workflows without running them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness import ROOT
from tests.infra.ansible_stage import ANSIBLE, ansible_bin

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BIN = ansible_bin()

pytestmark = pytest.mark.infra


def tool(name: str) -> Path:
    found = shutil.which(name) or (BIN and (BIN / name).exists() and BIN / name)
    if not found:
        pytest.skip(f"{name} is neither on the PATH nor in .venv/infra")
    return Path(found)


def run(*command: str | Path, cwd: Path) -> None:
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    # No input: Ansible refuses one that does not block, whoever has started the tests.
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ansible_lint_finds_nothing() -> None:
    run(tool("ansible-lint"), "--offline", "--nocolor", "--profile=production", cwd=ANSIBLE)


def test_zizmor_finds_nothing() -> None:
    run(tool("zizmor"), "--offline", "--persona=pedantic", *WORKFLOWS, cwd=ROOT)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_hash(workflow: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", workflow.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+(\.\d+)*", comment), comment


def test_no_long_lived_key_is_used() -> None:
    for workflow in WORKFLOWS:
        assert "secrets." not in workflow.read_text()


def test_every_playbook_says_how_it_is_called() -> None:
    for playbook in ANSIBLE.glob("*.yml"):
        assert re.search(rf"^#   ansible-playbook .*{playbook.name}", playbook.read_text(), re.MULTILINE), playbook


def test_every_command_says_whether_it_changes_something() -> None:
    import yaml

    for file in ANSIBLE.glob("roles/*/tasks/*.yml"):
        for task in _tasks(yaml.safe_load(file.read_text())):
            if "ansible.builtin.command" in task:
                assert "changed_when" in task or "creates" in task["ansible.builtin.command"], (file, task["name"])


def _tasks(tasks: list[dict]) -> list[dict]:
    inner = [task for each in tasks for part in ("block", "rescue", "always") for task in _tasks(each.get(part, []))]
    return [*tasks, *inner]


def test_the_documents_name_what_exists() -> None:
    for name in ("deploy", "runbook", "migration"):
        text = (ROOT / "docs" / f"{name}.md").read_text()
        for playbook in set(re.findall(r"(?<![-\w>])([a-z_]+\.yml)\b", text)) - {
            "all.yml",
            "dev-var.yml",
            "prod-var.yml",
            "check.yml",
        }:
            assert (ANSIBLE / playbook).exists() or playbook == "deploy.yml", (name, playbook)
        known = "\n".join(path.read_text() for path in ANSIBLE.glob("roles/*/defaults/main.yml"))
        for variable in re.findall(r"-e '?([a-z_]+)=", text):
            assert f"\n{variable}:" in f"\n{known}", (name, variable)


def test_what_the_documents_make_can_be_made(tmp_path: Path) -> None:
    """In a clean checkout, where nothing is there yet."""
    texts = [(ROOT / "docs" / "deploy.md").read_text(), *(file.read_text() for file in WORKFLOWS)]
    targets = {target for text in texts for target in re.findall(r"make (?:-C \.\. )?(\.venv/\S+)", text)}
    assert targets
    for part in ("Makefile", "requirements"):
        (tmp_path / part).symlink_to(ROOT / part)
    for target in targets:
        run("make", "--dry-run", target, cwd=tmp_path)


def test_a_job_trades_its_identity_for_credentials_that_outlive_it(tmp_path: Path) -> None:
    """Once, before anything is asked of AWS: GitHub's token would end in the middle of a rollout."""
    stands_in = {
        "curl": """echo '{"value": "token"}'""",
        "aws": """cat >> "$ASKED"; echo " $*" >> "$ASKED"
            echo '{"AccessKeyId": "A", "SecretAccessKey": "B", "SessionToken": "C"}'""",
    }
    for name, script in stands_in.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "ROLE_ARN": "role", "GITHUB_RUN_ID": "7"}
    environment |= {name: str(tmp_path / name.lower()) for name in ("GITHUB_ENV", "ASKED")}
    environment |= {f"ACTIONS_ID_TOKEN_REQUEST_{name}": "x" for name in ("TOKEN", "URL")}
    script = ROOT / ".github" / "workflows" / "aws-credentials.sh"
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "github_env").read_text().split() == [
        "AWS_ACCESS_KEY_ID=A",
        "AWS_SECRET_ACCESS_KEY=B",
        "AWS_SESSION_TOKEN=C",
    ]
    assert done.stdout.split() == ["::add-mask::A", "::add-mask::B", "::add-mask::C"]
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("token ")
    assert "--duration-seconds 7200" in asked
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" not in (ROOT / ".github" / "workflows" / "deploy.yml").read_text()


def test_the_pipelines_role_may_do_what_build_and_deploy_ask() -> None:
    rights = json.loads((ROOT / ".github" / "deploy-role.json").read_text())["Statement"]
    actions = [right["Action"] for right in rights]
    allowed = {action for each in actions for action in ([each] if isinstance(each, str) else each)}
    asked = set()
    for role in ("image", "deployment", "smoke"):
        for file in (ANSIBLE / "roles" / role).rglob("*.*"):
            calls = re.findall(r"service: (\w+)\n +operation: (\w+)", file.read_text())
            calls += re.findall(r"\b_?(ecs|logs)\.([a-z]+_[a-z_]+)\(", file.read_text())
            asked |= {f"{service}:{operation.title().replace('_', '')}" for service, operation in calls}
    assert len(asked) > 10
    assert asked <= allowed, asked - allowed
    # What is asked by others: docker pushes, terraform reads its state, ECS is handed the roles.
    others = {action for action in allowed - asked if action.split(":")[0] not in {"s3", "iam"}}
    assert {action.split(":")[0] for action in others} == {"ecr"}, others
