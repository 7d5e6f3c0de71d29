"""The configuration that people provision, by the playbook, on a server that plays AWS: once and no more."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.infra.ansible_stage import ansible_bin, running_stage
from tests.infra.terraform_plan import unexpected_changes

BIN = ansible_bin()
pytestmark = [
    pytest.mark.infra,
    pytest.mark.skipif(BIN is None, reason="ansible-playbook is neither on the PATH nor in .venv/infra"),
    pytest.mark.skipif(shutil.which("terraform") is None, reason="Terraform is not installed"),
]


def test_provisioned_again_there_is_nothing_to_change(tmp_path: Path) -> None:
    assert BIN is not None
    with running_stage(tmp_path, BIN) as small:
        told = {name: value for name, value in small.variables.items() if name != "terraform_source"}
        stage = replace(small, variables=told)
        first = stage.play("provision", terraform_consent=True)
        if "Failed to query available provider packages" in first.text:
            pytest.skip("terraform cannot get the AWS provider here (TF_CLI_CONFIG_FILE can name a copy)")
        assert first.rc == 0, first.text
        again = stage.play("provision", "--check")
        assert again.rc == 0, again.text
        show = ["terraform", "show", "-json", "plan.tfplan"]
        folder = stage.variables["terraform_root"]
        done = subprocess.run(show, cwd=folder, env=stage.environment, capture_output=True, text=True, check=True)
        assert unexpected_changes(json.loads(done.stdout)) == []
        status = stage.play("status")
        assert (status.rc, status.changed) == (0, 0), status.text
