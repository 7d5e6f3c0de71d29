"""Wait until a service runs a revision, and say every few seconds how far it is.

    rollout.py --region R --cluster C --service S --revision ARN [--serving] [--seconds 2700] [--every 10]

Exit 0 when its tasks alone run, or with --serving when they alone take new requests and old ones still end theirs;
1 with the reasons when ECS gave up, went back or took too long.
"""

# ruff: noqa: T201 - what it prints is shown by run_shown, or read by the task

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3

EVENTS = 6  # of the service, newest first
STOPPED = 3  # tasks whose reasons are told


def short(arn: str) -> str:
    """chat:12 of a task definition's ARN."""
    return arn.rsplit("/", 1)[-1]


def judge(service: dict[str, Any], revision: str, *, serving: bool = False) -> tuple[str, str]:
    """("waiting" or "done" or "failed", a sentence) about a service as describe_services tells it."""
    primary = next((d for d in service["deployments"] if d["status"] == "PRIMARY"), None)
    if primary is None:
        return "waiting", "no deployment yet"
    if primary["taskDefinition"] != revision:
        return "failed", f"ECS went back to {short(primary['taskDefinition'])}: {reason(primary)}"
    if primary.get("rolloutState") == "FAILED":
        return "failed", reason(primary)
    before = [d for d in service["deployments"] if d is not primary]
    others = sum(d["runningCount"] for d in before)
    # ECS wants fewer of the old ones only when the load balancer has found new ones healthy.
    serves = primary["runningCount"] >= primary["desiredCount"] > 0 and not any(d["desiredCount"] for d in before)
    progress = f"{primary['runningCount']} of {primary['desiredCount']} tasks of {short(revision)} run"
    progress += f", {others} of other revisions" if others else ""
    progress += f"; {primary['failedTasks']} did not come up" if primary.get("failedTasks") else ""
    return ("done" if primary.get("rolloutState") == "COMPLETED" or (serving and serves) else "waiting"), progress


def reason(deployment: dict[str, Any]) -> str:
    return str(deployment.get("rolloutStateReason") or "it gave no reason").rstrip(".")


def reasons(ecs: Any, cluster: str, service: dict[str, Any], revision: str) -> Iterator[str]:
    """What ECS itself said: the service's newest events, and why tasks of the revision stopped."""
    for event in service.get("events", [])[:EVENTS]:
        yield f"ECS: {event['message']}"
    arns = ecs.list_tasks(cluster=cluster, family=short(revision).split(":")[0], desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster=cluster, tasks=arns[:50])["tasks"] if arns else []
    for task in [task for task in tasks if task["taskDefinitionArn"] == revision][:STOPPED]:
        yield f"A task stopped: {task.get('stoppedReason') or 'no reason given'}"
        for container in task.get("containers", []):
            if container.get("exitCode") or container.get("reason"):
                ended = container.get("reason") or f"exit code {container['exitCode']}"
                yield f"  container {container['name']}: {ended}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Wait until a service runs a revision.")
    for name in ("region", "cluster", "service", "revision"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--serving", action="store_true")
    parser.add_argument("--seconds", type=float, default=2700)
    parser.add_argument("--every", type=float, default=10)
    given = parser.parse_args()
    ecs = boto3.client("ecs", region_name=given.region)
    began, said = time.monotonic(), ""
    while True:
        service = ecs.describe_services(cluster=given.cluster, services=[given.service])["services"][0]
        state, sentence = judge(service, given.revision, serving=given.serving)
        passed = time.monotonic() - began
        if state == "waiting" and passed > given.seconds:
            state, sentence = "failed", f"not there after {given.seconds:.0f} s: {sentence}"
        if sentence != said or state != "waiting":
            print(f"{passed:4.0f} s  {sentence}", flush=True)
            said = sentence
        if state == "done":
            return 0
        if state == "failed":
            print("\n".join(reasons(ecs, given.cluster, service, given.revision)))
            print(f"The rollout of {short(given.revision)} failed: {sentence}.")
            return 1
        time.sleep(given.every)


if __name__ == "__main__":
    sys.exit(main())
