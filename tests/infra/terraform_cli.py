"""Runs Terraform on a copy of terraform/, with a provider from wherever this machine has one."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT

SOURCE = ROOT / "terraform"
MIRROR = ROOT.parent / "shared" / "tools" / "terraform-mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terraform:
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, seconds: float = 600, expect: tuple[int, ...] = (0,)) -> str:
        """What Terraform printed; the test fails with it if the exit code is none of `expect`."""
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env={**os.environ, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1", **self.env},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode not in expect:
            pytest.fail(f"terraform {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments))


def initialised(folder: Path, **env: str) -> Terraform:
    """A copy of terraform/ in `folder`, ready to plan; skips the test where there is no Terraform or no provider.

    The provider comes from where TF_CLI_CONFIG_FILE says, else from a copy that the tools beside the repository find,
    else from the registry.
    """
    if not shutil.which("terraform"):
        pytest.skip("Terraform is not installed")
    # A lock file is for the platforms of whoever made it, and for the version chosen there.
    left_out = shutil.ignore_patterns(".terraform*", "*.tfstate*", "terraform.tfvars", "*.tfplan")
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True, ignore=left_out)
    config = cli_config(folder)
    terraform = Terraform(folder=folder, env={**config, **env})
    if config:
        terraform.run("init", "-no-color", "-backend=false")
        return terraform
    try:
        terraform.run("init", "-no-color", "-backend=false", seconds=120)
    except (pytest.fail.Exception, subprocess.TimeoutExpired):
        pytest.skip("No AWS provider: TF_CLI_CONFIG_FILE is not set, no copy was found, and the registry gave none")
    return terraform


def cli_config(folder: Path) -> dict[str, str]:
    """What tells Terraform where a provider is, as environment; empty if it is to ask the registry."""
    given = os.environ.get("TF_CLI_CONFIG_FILE", "")
    if Path(given).is_file():
        return {"TF_CLI_CONFIG_FILE": given}
    if not os.access(MIRROR, os.X_OK):
        return {}
    env = {**os.environ, "TMPDIR": str(folder.parent)}
    found = subprocess.run([MIRROR], env=env, capture_output=True, text=True, timeout=120, check=False)
    return {"TF_CLI_CONFIG_FILE": found.stdout.strip()} if found.returncode == 0 else {}
