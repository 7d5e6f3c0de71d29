"""The newest revisions of a family as JSON, newest first: number, version, since when good.

revisions.py --region R --family F [--most 20]
"""

# ruff: noqa: T201 - what it prints is shown by run_shown, or read by the task

import argparse
import json
from typing import Any

import boto3

VERSION, GOOD = "amplify-chat:version", "amplify-chat:good"


def described(answer: dict[str, Any]) -> dict[str, Any]:
    definition = answer["taskDefinition"]
    tags = {tag["key"]: tag["value"] for tag in answer.get("tags", [])}
    number, version, good = definition["revision"], tags.get(VERSION, ""), tags.get(GOOD, "")
    return {
        "arn": definition["taskDefinitionArn"],
        "number": number,
        "name": str(number),
        "version": version,
        "good": good,
        "image": definition["containerDefinitions"][0]["image"],
        "text": f"{number} ({version or 'no version'}{', good since ' + good if good else ''})",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The newest revisions of a family.")
    parser.add_argument("--region", required=True)
    parser.add_argument("--family", required=True)
    parser.add_argument("--most", type=int, default=20)
    given = parser.parse_args()
    ecs = boto3.client("ecs", region_name=given.region)
    arns = ecs.list_task_definitions(familyPrefix=given.family, sort="DESC", maxResults=given.most)[
        "taskDefinitionArns"
    ]
    found = [ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"]) for arn in arns]
    print(json.dumps([described(answer) for answer in found]))


if __name__ == "__main__":
    main()
