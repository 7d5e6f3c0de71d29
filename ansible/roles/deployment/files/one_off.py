"""Run a command in place of the service, in its network and with its secrets, and wait for its end.

    one_off.py --region R --cluster C --service S --revision ARN --container NAME [--seconds 900] -- COMMAND...

Shows the task's log while it runs. Exit 0 if the command did; else 1, with the reason.
"""

# ruff: noqa: T201 - what it prints is shown by run_shown, or read by the task

import argparse
import sys
import time
from typing import Any

import boto3
from botocore.exceptions import ClientError


def network_of(service: dict[str, Any]) -> dict[str, Any]:
    """A one-off task stands where the service's tasks stand: they can reach the database."""
    configuration: dict[str, Any] = service["networkConfiguration"]
    return configuration


def start(ecs: Any, given: argparse.Namespace) -> str:
    """The started task's ARN. Raises SystemExit with ECS's reason if it does not start."""
    service = ecs.describe_services(cluster=given.cluster, services=[given.service])["services"][0]
    answer = ecs.run_task(
        cluster=given.cluster,
        taskDefinition=given.revision,
        launchType="FARGATE",
        count=1,
        startedBy="ansible",
        networkConfiguration=network_of(service),
        overrides={"containerOverrides": [{"name": given.container, "command": given.command}]},
    )
    if not answer["tasks"]:
        why = ", ".join(failure.get("reason", "?") for failure in answer.get("failures", [])) or "no reason given"
        raise SystemExit(f"The task did not start: {why}.")
    arn: str = answer["tasks"][0]["taskArn"]
    return arn


class Log:
    """The task's log stream, read on from where we were."""

    def __init__(self, given: argparse.Namespace, definition: dict[str, Any], task: str) -> None:
        self._logs = boto3.client("logs", region_name=given.region)
        container = next(c for c in definition["containerDefinitions"] if c["name"] == given.container)
        options = container.get("logConfiguration", {}).get("options", {})
        self._group = options.get("awslogs-group")
        self._stream = f"{options.get('awslogs-stream-prefix')}/{given.container}/{task.rsplit('/', 1)[-1]}"
        self._token: dict[str, str] = {}

    def show_new(self) -> None:
        if not self._group:
            return
        try:
            answer = self._logs.get_log_events(
                logGroupName=self._group, logStreamName=self._stream, startFromHead=True, **self._token
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":  # no line was written yet
                raise
            return
        self._token = {"nextToken": answer["nextForwardToken"]}
        for event in answer["events"]:
            print(f"       {event['message'].rstrip()}", flush=True)


def verdict(task: dict[str, Any], name: str) -> str:
    """Empty if the command succeeded, else a sentence."""
    container = next((c for c in task.get("containers", []) if c["name"] == name), {})
    if container.get("exitCode") == 0:
        return ""
    if "exitCode" in container:
        return f"the command ended with exit code {container['exitCode']}"
    return str(container.get("reason") or task.get("stoppedReason") or "ECS gave no reason").rstrip(".")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command in place of the service.")
    for name in ("region", "cluster", "service", "revision", "container"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--every", type=float, default=3)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    ecs = boto3.client("ecs", region_name=given.region)
    definition = ecs.describe_task_definition(taskDefinition=given.revision)["taskDefinition"]
    arn = start(ecs, given)
    words, log, began, said = " ".join(given.command), Log(given, definition, arn), time.monotonic(), ""
    while True:
        task = ecs.describe_tasks(cluster=given.cluster, tasks=[arn])["tasks"][0]
        passed, state = time.monotonic() - began, task["lastStatus"]
        if state != said:
            print(f"{passed:4.0f} s  {words}: {state.lower()}", flush=True)
            said = state
        log.show_new()
        if state == "STOPPED":
            break
        if passed > given.seconds:
            ecs.stop_task(cluster=given.cluster, task=arn, reason=f"not done after {given.seconds:.0f} s")
            raise SystemExit(f"{words} was not done after {given.seconds:.0f} s and was stopped.")
        time.sleep(given.every)
    if why := verdict(task, given.container):
        raise SystemExit(f"{words} failed: {why}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
