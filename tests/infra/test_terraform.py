"""Terraform without AWS: its own checks, its own tests, and an apply to a server that plays AWS.

Slow (about seven minutes, most of it the provider's own waits), so it runs by `pytest -m infra`, in one process.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from amplify_chat.env import variables
from tests.harness import ROOT
from tests.infra.terraform_cli import SOURCE, Terraform, initialised
from tests.infra.terraform_plan import MOTO, unexpected_changes

pytestmark = pytest.mark.infra

# --- Terraform's own checks -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return initialised(tmp_path_factory.mktemp("terraform") / "copy")


def test_it_is_formatted(terraform: Terraform) -> None:
    terraform.run("fmt", "-check", "-recursive", "-diff")


def test_it_is_valid(terraform: Terraform) -> None:
    assert terraform.json("validate", "-json")["valid"]


@pytest.mark.parametrize("suite", sorted(path.name for path in (SOURCE / "tests").glob("*.tftest.hcl")))
def test_its_own_tests_pass(terraform: Terraform, suite: str) -> None:
    terraform.run("test", "-no-color", f"-filter=tests/{suite}")


@pytest.mark.parametrize("example", sorted(path.name for path in (SOURCE / "examples").glob("*.tfvars")))
def test_an_example_plans(terraform: Terraform, example: str) -> None:
    terraform.run("test", "-no-color", "-test-directory=examples", f"-var-file=examples/{example}")


def test_the_example_for_people_names_every_variable() -> None:
    """terraform.tfvars.example is where one looks first: what is not in it is not found."""
    files = "".join(file.read_text() for file in SOURCE.glob("variables*.tf"))
    declared = set(re.findall(r'^variable "(\w+)"', files, re.M))
    shown = set(re.findall(r"^#? ?(\w+) += ", (SOURCE / "terraform.tfvars.example").read_text(), re.M))
    assert shown == declared


def test_every_variable_is_typed_and_described() -> None:
    for file in SOURCE.rglob("variables*.tf"):
        for name, body in re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', file.read_text(), re.M | re.S):
            assert re.search(r"^  type +=", body, re.M), f"{file.name}: {name} has no type"
            assert re.search(r'^  description = ".{10,}"$', body, re.M), f"{file.name}: {name} is not described"


def test_checkov_finds_nothing_that_is_not_explained(tmp_path: Path) -> None:
    checkov = shutil.which("checkov") or os.environ.get("CHECKOV")
    if not checkov:
        pytest.skip("checkov is not installed; install it in an environment of its own (pipx install checkov)")
    copy = tmp_path / "copy"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns(".terraform*"))
    done = subprocess.run(
        [checkov, "-d", copy, "--framework", "terraform", "--output", "json", "--quiet", "--skip-download"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report = json.loads(done.stdout[done.stdout.index("{") :])
    found = report["results"]["failed_checks"]
    failed = [f"{check['check_id']} {check['resource']}: {check['check_name']}" for check in found]
    assert not failed, "\n".join(failed)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 200


# --- An apply to a server that plays AWS ------------------------------------------------------------------------------

# Variables that no deployment needs by default; who wants one gives it in extra_environment or extra_secrets.
BY_CHOICE = {
    "DEBUG": "never here",
    "AWS_ENDPOINT_URL": "for tests",
    "LLM_ENDPOINTS_SECRETS_NAME": "told where no ARN is",
    "LLM_ENDPOINTS_FILE": "a file has no way into the container; the secret has",
    **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"), "secret"),
    **dict.fromkeys(("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GEMINI_BASE_URL", "BEDROCK_BASE_URL"), "vendor's own"),
    **dict.fromkeys(("OPENAI_MODELS", "ANTHROPIC_MODELS", "GEMINI_MODELS"), "the known ones"),
    **dict.fromkeys(("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"), "Azure"),
    **dict.fromkeys((name for name in variables() if name.startswith("OIDC_")), "an issuer other than Cognito"),
    **dict.fromkeys(("STAFF_GROUPS", "ADMIN_GROUPS", "LOCAL_LOGIN"), "who may see the admin"),
    **dict.fromkeys((name for name in variables() if re.match("(USER|KEY)_(REQ|TOK|CON)", name)), "limits of your own"),
    **dict.fromkeys(("STREAM_FORMAT", "RUN_GRACE_SECONDS", "RUN_KEEP_SECONDS"), "the service's default"),
    "RESERVATION_SECONDS": "the service's default",
    "DISPLAY_TIME_ZONE": "where the university is",
    **dict.fromkeys(("BODY_MAX_MB", "BODY_SECONDS", "WEBSOCKET_MAX_MB"), "the service's default"),
}

PROVIDER = """
provider "aws" {{
  {alias}
  s3_use_path_style       = true
  skip_metadata_api_check = true
  max_retries             = 1 # moto's gaps show at once
}}
"""

VALUES = {
    "deployment_name": "uni",
    "environment": "prod",
    "domain_name": "chat.example.edu",
    "state_backend": "dynamodb",
    "roll_platform_costs": True,
    "import_platform_usage_hours": 6,
    "api_base_url": "https://api.example.edu",
    "agent_endpoint": "https://agents.example.edu/run",
    "cognito_user_pool_id": "us-east-1_AbCdEfGhI",
    "cognito_client_id": "client",
    "idp_prefix": "uni",
    "bedrock_models": ["us.anthropic.claude-sonnet-4-5-20250929-v1:0"],
    "bedrock_any_model": False,
    "bedrock_guardrail_id": "abc123",
    "bedrock_guardrail_version": "1",
    "llm_endpoints_secret_arn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:endpoints-AbCdEf",
    "alarm_emails": ["ops@example.edu"],
    "spot_percent": 50,
    "image": "public.ecr.aws/example/chat:1.0.0",
    "extra_environment": {"STREAM_FORMAT": "seed"},
}


@contextmanager
def moto() -> Iterator[str]:
    """The address of a moto server."""
    env = os.environ | MOTO
    with subprocess.Popen(
        [sys.executable, "-m", "tests.infra.terraform_moto"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    terraform: Terraform
    outputs: dict[str, Any]
    endpoint: str

    def client(self, service: str) -> Any:
        return _client(service, self.endpoint)

    def task_definition(self, arn: str) -> dict[str, Any]:
        described: dict[str, Any] = self.client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
        return described

    def policy(self, role: str, name: str) -> list[dict[str, Any]]:
        document = self.client("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        statements: list[dict[str, Any]] = document["Statement"]
        return statements


def _client(service: str, endpoint: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with moto() as endpoint:
        folder = tmp_path_factory.mktemp("deployed") / "copy"
        aws = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": endpoint}
        terraform = initialised(folder, **aws)
        zone = _client("route53", endpoint).create_hosted_zone(Name="example.edu", CallerReference="1")["HostedZone"]
        values = {**VALUES, "route53_zone_id": zone["Id"].rsplit("/", 1)[-1]}
        (folder / "terraform.tfvars.json").write_text(json.dumps(values))
        blocks = [PROVIDER.format(alias=alias) for alias in ("", 'alias = "secrets"')]
        (folder / "moto_override.tf").write_text("".join(blocks))
        terraform.run("apply", "-auto-approve", "-no-color", seconds=900)
        outputs = {name: output["value"] for name, output in terraform.json("output", "-json").items()}
        yield Deployment(terraform=terraform, outputs=outputs, endpoint=endpoint)


def test_a_second_plan_changes_nothing_also_after_a_deploy(deployed: Deployment) -> None:
    """A deploy, as Ansible does it: a new revision with another image, another number of tasks."""
    ecs = deployed.client("ecs")
    newest = deployed.task_definition(deployed.outputs["task_definition_arn"])
    newest["containerDefinitions"][0]["image"] = "public.ecr.aws/example/chat:1.0.1"
    kept = ("family", "containerDefinitions", "cpu", "memory", "networkMode", "requiresCompatibilities", "volumes")
    revision = ecs.register_task_definition(**{key: newest[key] for key in kept})["taskDefinition"]["taskDefinitionArn"]
    names = {"cluster": deployed.outputs["ecs_cluster_name"], "service": deployed.outputs["ecs_service_name"]}
    ecs.update_service(**names, taskDefinition=revision, desiredCount=5)

    deployed.terraform.run("plan", "-no-color", "-detailed-exitcode", "-out=second.tfplan", expect=(0, 2))
    plan = deployed.terraform.json("show", "-json", "second.tfplan")
    assert unexpected_changes(plan) == []


def test_the_task_knows_every_variable_of_the_service(deployed: Deployment) -> None:
    container = deployed.task_definition(deployed.outputs["task_definition_arn"])["containerDefinitions"][0]
    told = {each["name"] for each in container["environment"] + container["secrets"]}
    missing = set(variables()) - told - BY_CHOICE.keys()
    assert not missing, f"Set these in terraform/environment.tf, or say in BY_CHOICE why not: {sorted(missing)}"
    assert all(each["valueFrom"].startswith("arn:aws:secretsmanager:") for each in container["secrets"])


def test_the_name_of_an_alternative_secret_is_told_too(deployed: Deployment) -> None:
    container = deployed.task_definition(deployed.outputs["task_definition_arn"])["containerDefinitions"][0]
    environment = {each["name"]: each["value"] for each in container["environment"]}
    assert environment["LLM_ENDPOINTS_SECRETS_NAME_ARN"] == VALUES["llm_endpoints_secret_arn"]
    assert environment["SECRETS_ARN_NAME"] == "prod-amplify-app-secrets"


def test_secrets_are_drawn_and_stay_out_of_the_state(deployed: Deployment) -> None:
    secrets = deployed.client("secretsmanager")
    values = {
        each["Name"].rsplit("/", 1)[-1]: secrets.get_secret_value(SecretId=each["ARN"])["SecretString"]
        for each in secrets.list_secrets()["SecretList"]
    }
    assert values.keys() == {"secret-key", "metrics-token", "database-password", "database-url"}
    assert all(len(value) >= 64 for value in values.values())
    assert len(set(values.values())) == 4
    user, host = f"postgres://amplify:{values['database-password']}@", deployed.outputs["database_endpoint"]
    assert values["database-url"] == f"{user}{host}/amplify?sslmode=require"

    state = (deployed.terraform.folder / "terraform.tfstate").read_text()
    assert not [name for name, value in values.items() if value in state]


def test_the_service_may_do_what_it_needs_and_no_more(deployed: Deployment) -> None:
    statements = deployed.policy("amplify-uni-chat-prod-task", "work")
    allowed = {
        (action, resource)
        for statement in statements
        for action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    }
    at = "arn:aws:dynamodb:us-east-1:123456789012:table/amplify-uni"
    assert ("dynamodb:Query", f"{at}-object-access-prod-api-keys/index/*") in allowed
    assert ("dynamodb:PutItem", f"{at}-lambda-prod-chat-usage") in allowed
    assert ("s3:GetObject", "arn:aws:s3:::amplify-uni-lambda-prod-rag-input/*") in allowed
    assert ("secretsmanager:GetSecretValue", VALUES["llm_endpoints_secret_arn"]) in allowed
    assert {resource for action, resource in allowed if action == "dynamodb:DeleteItem"} == {
        f"{at}-amplify-js-prod-request-state",
        f"{at}-object-access-prod-amplify-groups",
    }
    assert not [action for action, _ in allowed if "*" in action]
    assert not [resource for _, resource in allowed if resource == "*"]
    assert {resource for action, resource in allowed if action == "bedrock:InvokeModel"} == {
        "arn:aws:bedrock:*::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:*:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    }


def test_a_task_starts_with_its_own_secrets_only(deployed: Deployment) -> None:
    statements = {each["Sid"]: each for each in deployed.policy("amplify-uni-chat-prod-execution", "start")}
    given = {arn for arn in deployed.outputs["secret_arns"].values() if arn}
    assert set(_listed(statements["Secrets"]["Resource"])) == given
    assert [sid for sid, each in statements.items() if "*" in _listed(each["Resource"])] == ["Login"]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_people_find_the_service(deployed: Deployment) -> None:
    assert deployed.outputs["service_endpoint"] == "https://chat.example.edu"
    balancers = deployed.client("elbv2")
    (balancer,) = balancers.describe_load_balancers()["LoadBalancers"]
    listeners = balancers.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    assert {each["Port"]: each["DefaultActions"][0]["Type"] for each in listeners} == {443: "forward", 80: "redirect"}
    route53 = deployed.client("route53")
    (zone,) = route53.list_hosted_zones()["HostedZones"]
    records = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    (alias,) = [each["AliasTarget"] for each in records if each["Name"] == "chat.example.edu." and each["Type"] == "A"]
    assert balancer["DNSName"] in alias["DNSName"]


def test_it_grows_with_cpu_memory_and_streams(deployed: Deployment) -> None:
    policies = deployed.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="ecs")
    targets = {
        each["PolicyName"].removeprefix("amplify-uni-chat-prod-"): each["TargetTrackingScalingPolicyConfiguration"]
        for each in policies["ScalingPolicies"]
    }
    aims = {name: target["TargetValue"] for name, target in targets.items()}
    assert aims == {"cpu": 70, "memory": 80, "streams": 200}
    metric = targets["streams"]["CustomizedMetricSpecification"]
    assert (metric["Namespace"], metric["MetricName"]) == ("AmplifyChat", "ActiveStreams")
    assert metric["Dimensions"] == [{"Name": "Service", "Value": "amplify-uni-chat-prod"}]


def test_alarms_reach_somebody(deployed: Deployment) -> None:
    topic = deployed.outputs["alarm_topic_arn"]
    alarms = deployed.client("cloudwatch").describe_alarms()["MetricAlarms"]
    ours = [alarm for alarm in alarms if not alarm["AlarmName"].startswith("TargetTracking-")]
    assert len(ours) >= 12
    assert all(alarm["AlarmActions"] == [topic] and alarm["AlarmDescription"] for alarm in ours)
    subscriptions = deployed.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [each["Endpoint"] for each in subscriptions] == ["ops@example.edu"]
