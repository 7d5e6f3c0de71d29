"""What a playbook meets in tests: AWS as moto plays it, a service that answers, and a tool that "builds" images."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.harness import CANARY, ROOT
from tests.infra.terraform_cli import cli_config
from tests.infra.terraform_plan import MOTO

ANSIBLE = ROOT / "ansible"
ACCOUNT = "123456789012"
KEY = f"amp-v1-{CANARY}"
PLAYBOOK_SECONDS = 900

# Acts as docker, podman or buildah: notes what it is asked, and "pushes" by putting a manifest into the registry.
TOOL = """#!{python}
import hashlib, json, os, sys
from pathlib import Path

folder, (tool, *words) = Path({folder!r}), (Path(sys.argv[0]).name, *sys.argv[1:])
state = json.loads((folder / "state.json").read_text())
secret = sys.stdin.read() if "--password-stdin" in words else ""
with (folder / "asked.jsonl").open("a") as asked:
    asked.write(json.dumps([tool, *words]) + "\\n")
if words[:1] == ["build"]:
    state["id"] = "sha256:" + hashlib.sha256(state["content"].encode()).hexdigest()
    print("Step 1/1 : FROM python")
elif words[:2] == ["image", "inspect"]:
    print(state["id"]) if state.get("id") else sys.exit(1)
elif words[:1] == ["inspect"]:
    print(state["container"], "true") if state.get("container") else sys.exit(1)
elif words[:2] == ["run", "--detach"]:
    state["container"] = state["id"]
elif words[:2] == ["rm", "--force"]:
    state["container"] = ""
elif words[:1] == ["run"] and state["failing"]:
    print("SystemCheckError: the image is broken"); sys.exit(1)
elif words[:1] == ["login"]:
    sys.exit(0 if secret and "AWS" in words else 1)
elif words[:1] == ["push"]:
    import boto3
    url, tag = words[1].rsplit(":", 1)
    manifest = {{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {{"digest": "sha256:" + hashlib.sha256(tag.encode()).hexdigest(), "size": 1,
        "mediaType": "application/vnd.docker.container.image.v1+json"}},
        "layers": [{{"size": 1, "mediaType": "x", "digest": "sha256:" + hashlib.sha256(tag.encode()).hexdigest()}}]}}
    boto3.client("ecr").put_image(repositoryName=url.split("/", 1)[1], imageTag=tag, imageManifest=json.dumps(manifest))
(folder / "state.json").write_text(json.dumps(state))
"""


def ansible_bin() -> Path | None:
    """Where ansible-playbook is: on the PATH, else in the virtual environment that `make` makes for it."""
    on_path = shutil.which("ansible-playbook")
    folders = [Path(on_path).parent] if on_path else []
    return next((f for f in (*folders, ROOT / ".venv" / "infra" / "bin") if (f / "ansible-playbook").exists()), None)


@dataclass
class Outcome:
    """How a playbook ended."""

    rc: int
    text: str

    @property
    def changed(self) -> int:
        return int(re.findall(r"changed=(\d+)", self.text)[-1])

    @property
    def said(self) -> str:
        """In one line, for sentences that the terminal has wrapped."""
        return re.sub(r"\s+", " ", self.text)


@dataclass
class Stage:
    """A folder, an AWS account and a machine's tools."""

    folder: Path
    aws: str
    bin: Path
    endpoint: str
    terraform: Mapping[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ} | self.terraform
        paths = [str(self.folder / "bin"), str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]]
        aws = dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"), "http://aws.test")
        proxies = {"HTTP_PROXY": self.aws, "http_proxy": self.aws, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        return {
            **(kept | aws | proxies),
            "PATH": os.pathsep.join(paths),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AMPLIFY_SMOKE_KEY": KEY,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "ansible"),
            "ANSIBLE_FORCE_COLOR": "0",
            "COLUMNS": "200",
        }

    def play(
        self,
        playbook: str,
        *arguments: str,
        inventory: str = "dev",
        environment: Mapping[str, str | None] | None = None,
        **variables: Any,
    ) -> Outcome:
        """Run a playbook as a person without a keyboard would."""
        given = self.folder / "given.json"
        given.write_text(json.dumps(self.variables | variables))
        process = subprocess.run(
            [
                self.bin / "ansible-playbook",
                *(["-i", ANSIBLE / "inventories" / inventory] if inventory else []),
                ANSIBLE / f"{playbook}.yml",
                *("-e", f"@{given}"),
                *arguments,
            ],
            env={name: v for name, v in (self.environment | dict(environment or {})).items() if v is not None},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PLAYBOOK_SECONDS,
            check=False,
        )
        outcome = Outcome(process.returncode, process.stdout + process.stderr)
        assert CANARY not in outcome.text, "a secret was shown"
        return outcome

    def client(self, service: str) -> Any:
        """boto3's client of this AWS."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=self.aws,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"max_attempts": 1}),
        )

    # What is broken ---------------------------------------------------------------------------------------------------

    def breaks(self, **digests: str) -> None:
        """Make images break at "start", in the "migration" or when asked ("answer"); without arguments none does."""
        kinds = ("start", "migration", "answer")
        (self.folder / "faults.json").write_text(json.dumps({k: [digests[k]] if k in digests else [] for k in kinds}))

    # The tool that builds ---------------------------------------------------------------------------------------------

    def tool(self, **state: Any) -> None:
        kept = {"content": "one", "failing": False}
        (self.folder / "state.json").write_text(json.dumps(kept | state))
        (self.folder / "asked.jsonl").write_text("")
        (self.folder / "bin").mkdir(exist_ok=True)
        for name in ("docker", "podman", "buildah"):
            script = self.folder / "bin" / name
            script.write_text(TOOL.format(python=sys.executable, folder=str(self.folder)))
            script.chmod(script.stat().st_mode | stat.S_IXUSR)

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "asked.jsonl").read_text().splitlines()]

    def push(self, version: str) -> str:
        """An image that somebody else has pushed; returns its digest."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"digest": "sha256:" + version.encode().hex().ljust(64, "0"), "size": 1, "mediaType": "x"},
            "layers": [{"digest": f"sha256:{version}", "size": 1, "mediaType": "x"}],
        }
        image = self.client("ecr").put_image(repositoryName=NAME, imageTag=version, imageManifest=json.dumps(manifest))[
            "image"
        ]
        digest: str = image["imageId"]["imageDigest"]
        return digest

    # What runs --------------------------------------------------------------------------------------------------------

    def service(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client("ecs").describe_services(cluster=NAME, services=[NAME])["services"][0]
        return found

    def running_image(self) -> str:
        revision = self.client("ecs").describe_task_definition(taskDefinition=self.service()["taskDefinition"])
        image: str = revision["taskDefinition"]["containerDefinitions"][0]["image"]
        return image

    def revisions(self) -> list[str]:
        found: list[str] = self.client("ecs").list_task_definitions(familyPrefix=NAME)["taskDefinitionArns"]
        return found

    def everything(self) -> tuple[Any, ...]:
        """What a playbook that stops early must leave as it was."""
        images = self.client("ecr").list_images(repositoryName=NAME)["imageIds"]
        buckets = [bucket["Name"] for bucket in self.client("s3").list_buckets()["Buckets"]]
        return self.service()["taskDefinition"], self.revisions(), images, buckets


NAME = "amplify-uni-chat-dev"


class Chat(BaseHTTPRequestHandler):
    """The service as a smoke test meets it; it fails while an image runs that is broken when asked."""

    protocol_version = "HTTP/1.1"
    stage: Stage

    def do_GET(self) -> None:
        self._reply(200, "application/json", b'{"status":"ready"}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        broken = json.loads((self.stage.folder / "faults.json").read_text())["answer"]
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._reply(401, "application/json", b'{"error":"Sign in first."}')
        elif broken and any(digest in self.stage.running_image() for digest in broken):
            self._reply(500, "application/json", b'{"error":"Something broke here.","code":"internal"}')
        else:
            answer = b'data: {"d":"Hello","s":0}\n\ndata: {"d":"!","s":0}\n\ndata: {"s":0,"type":"end"}\n\n'
            self._reply(200, "text/event-stream", answer)

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def running_aws(folder: Path) -> Iterator[str]:
    (folder / "faults.json").write_text(json.dumps({"start": [], "migration": [], "answer": []}))
    with (folder / "moto.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.infra.ansible_moto", str(folder / "faults.json")],
            cwd=ROOT,
            env=os.environ | MOTO,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address, (folder / "moto.log").read_text()
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextmanager
def running_stage(folder: Path, bin_folder: Path) -> Iterator[Stage]:
    with running_aws(folder) as aws:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
        stage = Stage(
            folder=folder,
            aws=aws,
            bin=bin_folder,
            endpoint=f"http://127.0.0.1:{server.server_port}",
            terraform=cli_config(folder),
        )
        Chat.stage = stage
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        certificate = stage.client("acm").request_certificate(DomainName="chat.example.edu")["CertificateArn"]
        stage.variables = {
            "amplify_account": ACCOUNT,
            "amplify_deployment_name": "uni",
            "amplify_terraform": {"certificate_arn": certificate, "min_count": 1, "desired_count": 1, "max_count": 2},
            "terraform_source": str(folder / "configuration"),
            "terraform_root": str(folder / "work" / "terraform"),
            "smoke_endpoint": stage.endpoint,
            "load_test_python": sys.executable,
            "capacity_python": sys.executable,
        }
        (folder / "configuration").mkdir()
        (folder / "configuration" / "main.tf").write_text(CONFIGURATION)
        stage.tool()
        try:
            yield stage
        finally:
            server.shutdown()
            server.server_close()


# terraform/ takes minutes to apply and is tested in test_terraform.py; here is only what the playbooks touch, with the
# same variables and outputs (test_ansible.py compares the names).
CONFIGURATION = """
variable "aws_region" { type = string }
variable "deployment_name" { type = string }
variable "environment" { type = string }
variable "certificate_arn" { type = string }
variable "min_count" { type = number }
variable "desired_count" { type = number }
variable "max_count" { type = number }
variable "state_backend" {
  type    = string
  default = "database"
}
variable "extra_environment" {
  type    = map(string)
  default = {}
}

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region = var.aws_region
}

locals {
  name = "amplify-${var.deployment_name}-chat-${var.environment}"
}

resource "aws_vpc" "this" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "this" {
  vpc_id     = aws_vpc.this.id
  cidr_block = "10.0.1.0/24"
}

resource "aws_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_lb_target_group" "this" {
  name        = "chat"
  port        = 8080
  protocol    = "HTTP"
  target_type = "ip"
  vpc_id      = aws_vpc.this.id
}

resource "aws_ecr_repository" "this" {
  name                 = local.name
  image_tag_mutability = "IMMUTABLE"
}

resource "aws_ecs_cluster" "this" {
  name = local.name
}

resource "aws_cloudwatch_log_group" "this" {
  name = "/ecs/${local.name}"
}

resource "aws_secretsmanager_secret" "this" {
  name                    = "${local.name}/secret-key"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "this" {
  secret_id     = aws_secretsmanager_secret.this.id
  secret_string = "sk-canary-4f1d"
}

resource "aws_ecs_task_definition" "this" {
  family                   = local.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 512
  memory                   = 1024
  skip_destroy             = true
  container_definitions = jsonencode([{
    name        = "chat"
    image       = "${aws_ecr_repository.this.repository_url}:none-yet"
    essential   = true
    cpu         = 512  # moto adds these up
    memory      = 1024
    portMappings = [{ containerPort = 8080 }]
    environment = [for name, value in var.extra_environment : { name = name, value = value }]
    secrets     = [{ name = "SECRET_KEY", valueFrom = aws_secretsmanager_secret.this.arn }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = "/ecs/${local.name}"
        awslogs-region        = var.aws_region
        awslogs-stream-prefix = "chat"
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  name            = local.name
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.this.arn
  desired_count   = 0
  launch_type     = "FARGATE"

  network_configuration {
    subnets         = [aws_subnet.this.id]
    security_groups = [aws_security_group.this.id]
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.this.arn
    container_name   = "chat"
    container_port   = 8080
  }

  lifecycle {
    ignore_changes = [task_definition, desired_count, availability_zone_rebalancing] # the last: moto forgets it
  }
}

output "service_endpoint" { value = "https://chat.example.edu" }
output "ecr_repository_url" { value = aws_ecr_repository.this.repository_url }
output "ecr_repository_name" { value = aws_ecr_repository.this.name }
output "ecs_cluster_name" { value = aws_ecs_cluster.this.name }
output "ecs_service_name" { value = aws_ecs_service.this.name }
output "task_definition_family" { value = local.name }
output "task_definition_arn" { value = aws_ecs_task_definition.this.arn }
output "container_name" { value = "chat" }
output "desired_count" { value = var.desired_count }
output "one_off_task" { value = { migrate = ["migrate", "--noinput"] } }
output "log_group_name" { value = aws_cloudwatch_log_group.this.name }
output "secret_arns" { value = { SECRET_KEY = aws_secretsmanager_secret.this.arn } }
"""
