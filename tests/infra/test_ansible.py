"""The playbooks against a moto server, with the real modules and a real terraform: each once, and once more unchanged.

A session's stage is provisioned once and has one good version deployed; each test starts from that.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT
from tests.infra.ansible_stage import ACCOUNT, ANSIBLE, CONFIGURATION, KEY, NAME, Stage, ansible_bin, running_stage

BIN = ansible_bin()
pytestmark = [
    pytest.mark.infra,
    pytest.mark.xdist_group("ansible"),
    pytest.mark.skipif(BIN is None, reason="ansible-playbook is neither on the PATH nor in .venv/infra"),
]
FIRST = "first"
NAMED = "amplify_deployment_name"


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    assert BIN is not None
    if not shutil.which("terraform"):
        pytest.skip("Terraform is not installed")
    with running_stage(tmp_path_factory.mktemp("stage"), BIN) as stage:
        outcome = stage.play("provision", terraform_consent=True)
        if "Failed to query available provider packages" in outcome.text:
            pytest.skip("terraform cannot get the AWS provider here (TF_CLI_CONFIG_FILE can name a copy)")
        assert outcome.rc == 0, outcome.text
        stage.push(FIRST)
        deployed = stage.play("deploy", image_version=FIRST)
        assert deployed.rc == 0, deployed.text
        yield stage


@pytest.fixture
def stage(provisioned: Stage) -> Stage:
    """Nothing is broken, and the first version runs."""
    provisioned.breaks()
    provisioned.tool()
    if digest_of(provisioned, FIRST) not in provisioned.running_image():
        assert provisioned.play("deploy", image_version=FIRST).rc == 0
    return provisioned


def digest_of(stage: Stage, version: str) -> str:
    found = stage.client("ecr").describe_images(repositoryName=NAME, imageIds=[{"imageTag": version}])
    return str(found["imageDetails"][0]["imageDigest"])


# provision ------------------------------------------------------------------------------------------------------------


def test_provisioned_again_nothing_changes(stage: Stage) -> None:
    outcome = stage.play("provision", terraform_consent=True)
    assert (outcome.rc, outcome.changed) == (0, 0), outcome.text
    assert "No changes." in outcome.text


def test_a_plan_is_shown_and_not_applied_without_consent(stage: Stage) -> None:
    before = stage.everything()
    outcome = stage.play("provision", amplify_terraform=other(stage))
    assert outcome.rc != 0
    assert "aws_ecs_task_definition.this must be replaced" in outcome.text
    assert "Nothing was applied. Read the plan above" in outcome.said
    assert stage.everything() == before


def test_check_mode_shows_the_plan_and_succeeds(stage: Stage) -> None:
    before = stage.everything()
    outcome = stage.play("provision", "--check", amplify_terraform=other(stage))
    assert outcome.rc == 0, outcome.text
    assert "aws_ecs_task_definition.this must be replaced" in outcome.text
    assert stage.everything() == before


def other(stage: Stage) -> dict[str, Any]:
    return stage.variables["amplify_terraform"] | {"extra_environment": {"STREAM_FORMAT": "answer"}}


# build ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["docker", "podman", "buildah"])
def test_build_pushes_a_tested_image_once(stage: Stage, tool: str, fresh_registry: None) -> None:
    first = stage.play("build", image_tool=tool)
    assert first.rc == 0, first.text
    asked = [words[:2] for words in stage.asked]
    assert asked[0] == [tool, "build"]
    assert asked[-2:] == [[tool, "login"], [tool, "push"]]
    tests = [words for words in stage.asked if words[1] == "run"]
    assert [words[-1] for words in tests] == ["check", "--noinput"]
    version = stage.asked[-1][2].rsplit(":", 1)[1]
    assert re.fullmatch("[0-9a-f]{12}", version)
    assert f"@{digest_of(stage, version)}" in first.said
    again = stage.play("build", image_tool=tool)
    assert (again.rc, again.changed) == (0, 0), again.text
    assert f"@{digest_of(stage, version)}" in again.said


@pytest.fixture
def fresh_registry(stage: Stage) -> None:
    images = stage.client("ecr").describe_images(repositoryName=NAME)["imageDetails"]
    built = [i["imageDigest"] for i in images if re.fullmatch("[0-9a-f]{12}", i["imageTags"][0])]
    if built:
        stage.client("ecr").batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": d} for d in built])


def test_an_image_that_fails_its_tests_is_not_pushed(stage: Stage, fresh_registry: None) -> None:
    stage.tool(failing=True)
    before = stage.everything()
    outcome = stage.play("build")
    assert outcome.rc != 0
    assert "the image is broken" in outcome.said
    assert stage.everything() == before
    assert "push" not in {words[1] for words in stage.asked}


def test_an_unknown_revision_is_not_built(stage: Stage) -> None:
    outcome = stage.play("build", image_revision="no-such-branch")
    assert outcome.rc != 0
    assert "git knows no revision no-such-branch here. Fetch it" in outcome.said
    assert not stage.asked


# deploy ---------------------------------------------------------------------------------------------------------------


def test_deploy_migrates_rolls_out_and_tries(stage: Stage) -> None:
    digest = stage.push("second")
    checked = stage.play("deploy", "--check", image_version="second")
    assert checked.rc == 0, checked.text
    assert "version second would be deployed" in checked.said
    assert digest_of(stage, FIRST) in stage.running_image()

    outcome = stage.play("deploy", image_version="second")
    assert outcome.rc == 0, outcome.text
    assert stage.running_image().endswith(f"@{digest}")
    tasks = stage.client("ecs").list_tasks(cluster=NAME, startedBy="ansible")["taskArns"]
    task = stage.client("ecs").describe_tasks(cluster=NAME, tasks=tasks)["tasks"][-1]
    assert task["overrides"]["containerOverrides"] == [{"name": "chat", "command": ["migrate", "--noinput"]}]
    for words in ("0 of 1 tasks of", "1 of 1 tasks of", "Version second runs as"):
        assert words in outcome.said
    assert outcome.said.index("migrate --noinput: stopped") < outcome.said.index("1 of 1 tasks of")
    assert outcome.said.index("run, 1 of other revisions") < outcome.said.index("Ask and read the stream")
    assert outcome.said.index("Ask and read the stream") < outcome.said.index("Wait until the old tasks have ended")


def test_deployed_again_nothing_changes(stage: Stage) -> None:
    before = stage.everything()
    outcome = stage.play("deploy", image_version=FIRST)
    assert (outcome.rc, outcome.changed) == (0, 0), outcome.text
    assert "It did before; nothing was changed." in outcome.said
    assert stage.everything() == before


def test_a_digest_can_be_deployed(stage: Stage) -> None:
    digest = stage.push("by-digest")
    assert stage.play("deploy", image_version=digest).rc == 0
    assert stage.running_image().endswith(f"@{digest}")


@pytest.mark.parametrize(
    ("fault", "at", "because"),
    [
        ("migration", "Run the migration as a task of its own", "migrate --noinput failed: the command ended with"),
        ("start", "Wait until its tasks run", "circuit breaker: rolling back"),
        ("answer", "Check that it was a whole answer, streamed", "HTTP 500"),
    ],
    ids=["migration", "start", "answer"],
)
def test_a_broken_version_leaves_the_one_before(stage: Stage, fault: str, at: str, because: str) -> None:
    stage.breaks(**{fault: stage.push(f"broken-{fault}")})
    before = stage.service()["taskDefinition"]
    outcome = stage.play("deploy", image_version=f"broken-{fault}")
    assert outcome.rc != 0
    assert stage.service()["taskDefinition"] == before
    assert stage.service()["runningCount"] == 1
    report = outcome.said[outcome.said.rindex(f"Version broken-{fault} was not deployed.") :]
    assert f"Failed at: {at}" in report
    assert because in report
    number = before.rsplit("/", 1)[-1]
    untouched = f"the service was not touched; it runs {number} as before"
    assert (untouched if fault == "migration" else f"the service runs {number} again") in report


def test_a_good_one_follows_a_broken_one(stage: Stage) -> None:
    stage.breaks(start=stage.push("broken"))
    assert stage.play("deploy", image_version="broken").rc != 0
    stage.breaks()
    digest = stage.push("mended")
    assert stage.play("deploy", image_version="mended").rc == 0
    assert stage.running_image().endswith(f"@{digest}")


# rollback -------------------------------------------------------------------------------------------------------------


def test_rollback_takes_the_good_one_before(stage: Stage) -> None:
    first = stage.service()["taskDefinition"]
    stage.push("third")
    assert stage.play("deploy", image_version="third").rc == 0
    checked = stage.play("rollback", "--check")
    assert checked.rc == 0, checked.text
    assert "it would go back to" in checked.said
    outcome = stage.play("rollback")
    assert outcome.rc == 0, outcome.text
    assert stage.service()["taskDefinition"] == first
    again = stage.play("rollback", deployment_rollback_to=FIRST)
    assert (again.rc, again.changed) == (0, 0), again.text


def test_rollback_to_a_name_that_is_not_there(stage: Stage) -> None:
    before = stage.everything()
    outcome = stage.play("rollback", deployment_rollback_to="nowhere")
    assert outcome.rc != 0
    assert "There is no revision or version nowhere. There are:" in outcome.said
    assert stage.everything() == before


# looking --------------------------------------------------------------------------------------------------------------


def test_status_tells_what_runs(stage: Stage) -> None:
    outcome = stage.play("status")
    assert (outcome.rc, outcome.changed) == (0, 0), outcome.text
    for words in (f"version {FIRST}, good since 2", "1 of 1 run", digest_of(stage, FIRST), "alarms none"):
        assert words in outcome.said


def test_logs_are_shown_and_filtered(stage: Stage) -> None:
    logs, group, now = stage.client("logs"), f"/ecs/{NAME}", stage.client("sts")
    stream = f"chat/chat/{now.get_caller_identity()['Account']}"
    if not logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    moment = int(time.time() * 1000)
    events = [{"timestamp": moment + i, "message": f'{{"run":"run-{i}"}}'} for i in range(3)]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    outcome = stage.play("logs")
    assert (outcome.rc, outcome.changed) == (0, 0), outcome.text
    assert all(f"run-{i}" in outcome.text for i in range(3))
    one = stage.play("logs", logs_run="run-1", logs_follow=True, logs_follow_seconds=2)
    assert "run-1" in one.text
    assert "run-2" not in one.text


def test_a_command_of_manage_py(stage: Stage) -> None:
    assert stage.play("manage", deployment_command="check_books").rc == 0
    empty = stage.play("manage")
    assert empty.rc != 0
    assert "Say which command of manage.py" in empty.said


def test_load(stage: Stage) -> None:
    outcome = stage.play("load_test", load_test_streams=3, load_test_seconds=1)
    assert (outcome.rc, outcome.changed) == (0, 0), outcome.text
    assert re.search(r"[1-9]\d* answers to 3 clients in 1.0 s, 0 failed \(\d+ x 200\)", outcome.said)
    wrong = stage.play(
        "load_test", load_test_streams=1, load_test_seconds=1, environment={"AMPLIFY_SMOKE_KEY": "amp-v1-other"}
    )
    assert wrong.rc != 0
    assert "answers failed" in wrong.said


def test_capacity(stage: Stage) -> None:
    outcome = stage.play("capacity", capacity_daily_users=1000)
    assert (outcome.rc, outcome.changed) == (0, 0), outcome.text
    assert "26 at the peak" in outcome.said


# stopped before anything is changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("playbook", "arguments", "sentence"),
    [
        (
            "deploy",
            {"amplify_account": "999999999999"},
            f"signed in to the AWS account {ACCOUNT}, and dev is in 999999999999",
        ),
        ("provision", {"amplify_account": ""}, "amplify_account is missing. Write the number"),
        ("provision", {"amplify_account": "12"}, "amplify_account is not 12 digits"),
        ("deploy", {"amplify_deployment_name": ""}, "amplify_deployment_name is missing. Write it into"),
        ("deploy", {"amplify_deployment_name": "Uni Chat"}, "amplify_deployment_name is not a name"),
        ("deploy", {"amplify_platform_file": "nowhere.yml"}, "there is no such file. Give the path"),
        ("deploy", {"image_version": "nowhere"}, "There is no version nowhere in"),
        ("deploy", {"amplify_deployment_name": "other"}, "is not provisioned yet, or not to the end. Run"),
        ("deploy", {"image_version": FIRST, "amplify_environment": "qa"}, "Name its inventory"),
        ("build", {"image_tool": "kaniko"}, "kaniko"),
        ("load_test", {"load_test_streams": 9000}, "1 to 2000"),
    ],
)
def test_what_cannot_work_is_said_first(stage: Stage, playbook: str, arguments: dict[str, str], sentence: str) -> None:
    before = stage.everything()
    outcome = stage.play(playbook, **arguments)
    assert outcome.rc != 0
    assert sentence in outcome.said, outcome.text[-3000:]
    assert stage.everything() == before
    assert not stage.asked


def test_without_a_key_nothing_is_deployed(stage: Stage) -> None:
    stage.push("keyless")
    before = stage.everything()
    outcome = stage.play("deploy", image_version="keyless", environment={"AMPLIFY_SMOKE_KEY": None})
    assert outcome.rc != 0
    assert "There is no API key for the smoke test. Make one in the admin" in outcome.said
    assert stage.everything() == before
    stage.client("secretsmanager").create_secret(Name=f"{NAME}/smoke-key", SecretString=KEY)
    assert stage.play("deploy", image_version="keyless", environment={"AMPLIFY_SMOKE_KEY": None}).rc == 0


def test_a_secret_without_a_value_stops_a_deploy(stage: Stage) -> None:
    secrets = stage.client("secretsmanager")
    arn = secrets.create_secret(Name="empty")["ARN"]
    stage.push("secretless")
    before = stage.everything()
    try:
        stage_outputs = {"terraform_outputs": outputs(stage) | {"secret_arns": {"OPENAI_API_KEY": f"{arn}:key::"}}}
        outcome = stage.play("deploy", image_version="secretless", **stage_outputs)
    finally:
        secrets.delete_secret(SecretId="empty", ForceDeleteWithoutRecovery=True)
    assert outcome.rc != 0
    assert "The secret for OPENAI_API_KEY" in outcome.said
    assert "has no value, so no task could start" in outcome.said
    assert stage.everything() == before


def outputs(stage: Stage) -> dict[str, Any]:
    state = stage.client("s3").get_object(Bucket=f"{NAME}-state-{ACCOUNT}", Key="terraform.tfstate")["Body"].read()
    return dict(json.loads(state)["outputs"]["chat"]["value"])


def test_without_credentials_it_says_how_to_sign_in(stage: Stage) -> None:
    nobody = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "HOME": str(stage.folder)}
    outcome = stage.play("deploy", image_version=FIRST, environment=nobody)
    assert outcome.rc != 0
    assert "AWS does not know who you are. Sign in" in outcome.said


def test_a_missing_program_is_named(stage: Stage, tmp_path: Path) -> None:
    outcome = stage.play("build", amplify_tools=["no-such-tool"])
    assert outcome.rc != 0
    assert "no-such-tool is not on this machine. Install it" in outcome.said


# the platform's file --------------------------------------------------------------------------------------------------


def test_the_platforms_file_is_read(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "dev-var.yml"
    file.write_text(
        f'DEP_NAME: "uni"\nSTAGE: dev\nAWS_ACCOUNT_ID: "{ACCOUNT}"\nDEP_REGION: "us-east-1"\nIDP_PREFIX: ""\n'
        'CUSTOM_API_DOMAIN: "dev-api.example.edu"\n'
        'COGNITO_USER_POOL_ID: "us-east-1_AbCdEfGhI"\nCOGNITO_CLIENT_ID: "c1"\n'
        'SECRETS_ARN_NAME: "arn:aws:secretsmanager:us-east-1:123456789012:secret:dev-amplify-app-secrets-AbCdEf"\n'
    )
    told = {name: value for name, value in stage.variables.items() if name not in ("amplify_account", NAMED)}
    untold = replace(stage, variables=told)
    outcome = untold.play("status", amplify_platform_file=str(file), terraform_root=str(tmp_path / "work"))
    assert outcome.rc == 0, outcome.text  # account and deployment came from the file
    text = (tmp_path / "work" / "main.tf.json").read_text()
    module = json.loads(text)["module"]["chat"]
    assert module["state_backend"] == "dynamodb"
    assert module["api_base_url"] == "https://dev-api.example.edu"
    assert module["cognito_user_pool_id"] == "us-east-1_AbCdEfGhI"
    assert module["app_secrets_arn"].endswith("dev-amplify-app-secrets-AbCdEf")
    assert "idp_prefix" not in module


def test_a_file_of_another_stage_is_refused(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "prod-var.yml"
    file.write_text("STAGE: prod\n")
    outcome = stage.play("status", amplify_platform_file=str(file))
    assert outcome.rc != 0
    assert "is of the stage prod, the inventory is of dev" in outcome.said


# here -----------------------------------------------------------------------------------------------------------------


def test_local_builds_runs_and_stops(stage: Stage) -> None:
    port = int(stage.endpoint.rsplit(":", 1)[1])
    first = stage.play("local", inventory="", local_container_port=port, amplify_environment="dev")
    assert first.rc == 0, first.text
    assert ["docker", "run", "--detach"] in [words[:3] for words in stage.asked]
    again = stage.play("local", inventory="", local_container_port=port, amplify_environment="dev")
    assert (again.rc, again.changed) == (0, 0), again.text
    stopped = stage.play("local", local_container_stop=True)
    assert (stopped.rc, stopped.changed) == (0, 1), stopped.text


# all, and nothing -----------------------------------------------------------------------------------------------------


def test_site_is_all_of_it(stage: Stage, fresh_registry: None) -> None:
    outcome = stage.play("site", terraform_consent=True)
    assert outcome.rc == 0, outcome.text
    again = stage.play("site", terraform_consent=True)
    assert (again.rc, again.changed) == (0, 0), again.text


@pytest.mark.parametrize("consent", ["", NAME])
def test_prod_is_never_destroyed(stage: Stage, consent: str) -> None:
    before = stage.everything()
    outcome = stage.play("destroy", inventory="prod", terraform_destroy=consent)
    assert outcome.rc != 0
    assert "does not destroy prod" in outcome.said
    assert stage.everything() == before


def test_destroy_asks_for_the_name(stage: Stage) -> None:
    before = stage.everything()
    for name in ("", "amplify-uni-chat-prod"):
        outcome = stage.play("destroy", terraform_destroy=name)
        assert outcome.rc != 0
        assert f"Nothing was destroyed: the name was not {NAME}" in outcome.said
    assert stage.play("destroy", "--check").rc == 0
    assert stage.everything() == before


def test_from_nothing_to_nothing(tmp_path: Path, provisioned: Stage) -> None:
    assert BIN is not None
    with running_stage(tmp_path, BIN) as stage:
        planned = stage.play("provision", "--check")
        assert planned.rc == 0, planned.text
        assert "to add, 0 to change, 0 to destroy" in planned.said
        assert not stage.client("s3").list_buckets()["Buckets"]
        assert stage.play("provision", terraform_consent=True).rc == 0
        # As AWS's autoscaling does when it is told of the fewest tasks: it asks for them, though there is no image.
        stage.client("ecs").update_service(cluster=NAME, service=NAME, desiredCount=1)
        stage.push("only")
        broken = stage.push("broken")
        stage.breaks(answer=broken)
        failed = stage.play("deploy", image_version="broken")
        assert "no task runs, as before this first deploy" in failed.said
        assert stage.service()["desiredCount"] == 0
        assert stage.play("deploy", image_version="only").rc == 0
        gone = stage.play("destroy", terraform_destroy=NAME)
        assert gone.rc == 0, gone.text
        again = stage.play("destroy", terraform_destroy=NAME)
        assert (again.rc, again.changed) == (0, 0), again.text
    from tests.infra.ansible_stage import Chat

    Chat.stage = provisioned


# in step with what others keep ----------------------------------------------------------------------------------------


def test_the_outputs_are_those_of_terraform() -> None:
    real = set(re.findall(r'^output "(\w+)"', (ROOT / "terraform" / "outputs.tf").read_text(), re.MULTILINE))
    ours = set(re.findall(r'^output "(\w+)"', CONFIGURATION, re.MULTILINE))
    roles = "\n".join(path.read_text() for path in ANSIBLE.rglob("*") if path.suffix in {".yml", ".j2"})
    assert ours <= real
    assert set(re.findall(r"terraform_outputs\.(\w+)", roles)) <= ours


def test_the_variables_are_those_of_terraform() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "terraform").glob("variables*.tf"))
    real = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    template = (ANSIBLE / "roles/amplify/templates/from_platform.yml.j2").read_text()
    keys = (ANSIBLE / "roles/amplify/vars/main.yml").read_text()
    mapped = set(re.findall(r"^([a-z_]+): ", template, re.MULTILINE))
    mapped |= set(re.findall(r"^  [A-Z_]+: ([a-z_]+)$", keys, re.MULTILINE))
    assert mapped
    assert mapped <= real
    for file in ANSIBLE.glob("inventories/*/group_vars/all.yml"):
        told = set(re.findall(r"^  (?:# )?([a-z_]+): ", file.read_text(), re.MULTILINE))
        assert told <= real, file


def test_every_default_is_commented_and_prefixed() -> None:
    for file in ANSIBLE.glob("roles/*/defaults/main.yml"):
        role = file.parent.parent.name
        blocks = [block for block in file.read_text().split("\n\n") if block.strip()]
        assert all(block.lstrip().startswith("#") for block in blocks), file
        names = re.findall(r"^(\w+):", file.read_text(), re.MULTILINE)
        assert all(name.startswith(f"{role}_") for name in names), file
