"""The moto server of terraform_moto, in which ECS also runs things: deployments come up or do not, tasks end.

`python -m tests.infra.ansible_moto FAULTS.json` prints its address and serves until it is stopped. FAULTS.json says
which images are broken, by digest: {"start": [...], "migration": [...]}; it is read at each look.

Its clients talk to http://aws.test with this server as their HTTP proxy, so that a bucket's address may be
http://<bucket>.aws.test as at AWS.
"""

import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ecs.models import EC2ContainerServiceBackend, Service, Task
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.infra import terraform_moto

HOST = "aws.test"
LOOKS = 2  # at a service or task until it is where it wants to be; twice as many until a service's old tasks are gone


def broken(faults: Path, kind: str, image: str) -> bool:
    return any(digest in image for digest in json.loads(faults.read_text())[kind])


class Rollouts:
    """ECS's deployments: a new one comes up after some looks, or the circuit breaker brings the old one back."""

    def __init__(self, faults: Path) -> None:
        self._faults = faults

    def patch(self) -> None:
        update, describe = EC2ContainerServiceBackend.update_service, EC2ContainerServiceBackend.describe_services

        def update_service(backend: EC2ContainerServiceBackend, properties: dict[str, Any]) -> Service:
            service = backend.describe_services(properties["cluster"], [properties["service"]])[0][0]
            before = service.task_definition
            update(backend, properties)
            self._begin(service, before)
            return service

        def describe_services(backend: EC2ContainerServiceBackend, *arguments: Any) -> Any:
            found = describe(backend, *arguments)
            for service in found[0]:
                self._advance(backend, service)
            return found

        EC2ContainerServiceBackend.update_service = update_service
        EC2ContainerServiceBackend.describe_services = describe_services

    def _begin(self, service: Service, before: str) -> None:
        service.running_count = 0
        old = _deployment(service, before, "ACTIVE", "COMPLETED", running=service.desired_count)
        new = _deployment(service, service.task_definition, "PRIMARY", "IN_PROGRESS")
        service.deployments = [new] if before == service.task_definition else [new, old]
        service.looks, service.before = 0, before

    def _advance(self, backend: EC2ContainerServiceBackend, service: Service) -> None:
        new = service.deployments[0]
        service.looks = getattr(service, "looks", 0) + 1
        if new["rolloutState"] != "IN_PROGRESS" or service.looks <= LOOKS:
            return
        image = backend.describe_task_definition(service.task_definition).container_definitions[0]["image"]
        if service.desired_count and broken(self._faults, "start", image):
            _say(service, f"(service {service.name}) deployment failed: tasks failed to start.")
            service.task_definition = service.before
            new = _deployment(service, service.before, "PRIMARY", "IN_PROGRESS", running=service.desired_count)
            new["rolloutStateReason"] = "ECS deployment circuit breaker: rolling back."
        elif service.looks <= 2 * LOOKS:
            new |= {"runningCount": service.desired_count, "pendingCount": 0}
            for old in service.deployments[1:]:
                old |= {"desiredCount": 0, "pendingCount": 0}
            return
        else:
            new |= {"rolloutState": "COMPLETED", "runningCount": service.desired_count, "pendingCount": 0}
            _say(service, f"(service {service.name}) has reached a steady state.")
        service.deployments, service.running_count, service.pending_count = [new], service.desired_count, 0


def _deployment(service: Service, revision: str, status: str, state: str, running: int = 0) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": f"ecs-svc/{now:%H%M%S%f}",
        "status": status,
        "taskDefinition": revision,
        "desiredCount": service.desired_count,
        "runningCount": running,
        "pendingCount": service.desired_count - running,
        "failedTasks": 0,
        "rolloutState": state,
        "createdAt": now,
        "updatedAt": now,
    }


def _say(service: Service, message: str) -> None:
    now = datetime.now(UTC)
    service.events.insert(0, {"id": f"{now:%H%M%S%f}", "createdAt": now, "message": message})


def patch_revisions() -> None:
    """Revisions are listed in the order that was asked for, and no more of them."""

    def list_task_definitions(self: EC2ContainerServiceResponse) -> ActionResult:
        arns = self.ecs_backend.list_task_definitions(self._get_param("familyPrefix"))
        arns.sort(key=lambda arn: int(arn.rsplit(":", 1)[-1]), reverse=self._get_param("sort") == "DESC")
        return ActionResult({"taskDefinitionArns": arns[: self._get_param("maxResults") or 100]})

    EC2ContainerServiceResponse.list_task_definitions = list_task_definitions


def patch_tasks(faults: Path) -> None:
    """A one-off task runs at the first look and has ended at the third."""
    describe = EC2ContainerServiceBackend.describe_tasks

    def describe_tasks(backend: EC2ContainerServiceBackend, cluster: str, tasks: list[str]) -> list[Task]:
        found: list[Task] = describe(backend, cluster, tasks)
        for task in found:
            task.looks = getattr(task, "looks", 0) + 1
            task.status = "RUNNING" if task.looks <= LOOKS else "STOPPED"
            for container in task.containers:
                container.exitCode = None
            if task.status == "STOPPED":
                task.stopped_reason = "Essential container in task exited"
                task.containers[0].exitCode = int(broken(faults, "migration", task.containers[0].image))
        return found

    EC2ContainerServiceBackend.describe_tasks = describe_tasks
    NetworkInterface.private_dns_name = ""  # a task reads it, and not every interface of moto's has one


Start = Callable[..., Any]


def buckets_in_path(application: Callable[[dict[str, Any], Start], Iterable[bytes]]) -> Any:
    """http://bucket.aws.test/key becomes http://aws.test/bucket/key."""

    def called(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").split(":")[0]
        bucket = host.removesuffix(HOST).rstrip(".")
        if host.endswith(HOST):
            environ["HTTP_HOST"] = "localhost"  # where moto looks for a bucket in the path
        if host.endswith(HOST) and bucket:
            environ["PATH_INFO"] = f"/{bucket}{environ['PATH_INFO']}"
            for name in ("REQUEST_URI", "RAW_URI"):
                environ[name] = f"/{bucket}{environ.get(name, '/').removeprefix(f'http://{host}')}"
        return application(environ, start)

    return called


class Quiet(WSGIRequestHandler):
    def log_request(self, *arguments: Any) -> None:
        pass


def main() -> None:
    faults = Path(sys.argv[1])
    terraform_moto.mend_moto()
    Rollouts(faults).patch()
    patch_tasks(faults)
    patch_revisions()
    application = buckets_in_path(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
