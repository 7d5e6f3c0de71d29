#!/usr/bin/python
"""One call of an AWS service, for what amazon.aws and community.aws have no module for."""

import contextlib

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

DOCUMENTATION = """
module: aws_call
short_description: Make one call of an AWS service
description:
  - Calls one operation of boto3 and returns its answer under C(answer).
  - A reading operation (describe, list, get, head, batch_get) changes nothing and also runs in check mode.
    Any other counts as a change, and check mode leaves it out.
options:
  service:
    description: The service, as boto3 names it.
    required: true
    type: str
  operation:
    description: The operation, as boto3 names it.
    required: true
    type: str
  arguments:
    description: Its arguments, in AWS's own spelling.
    default: {}
    type: dict
  missing:
    description: Error codes that mean that there is no such thing; C(answer) is then empty and C(found) false.
    default: []
    type: list
    elements: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = """
- name: Read the service
  aws_call:
    service: ecs
    operation: describe_services
    arguments:
      cluster: chat
      services: [chat]
"""

RETURN = """
answer:
  description: What AWS answered.
  type: dict
  returned: unless check mode left the call out
found:
  description: false if AWS answered with one of the codes in missing.
  type: bool
  returned: always
"""

with contextlib.suppress(ImportError):  # AnsibleAWSModule says so itself
    from botocore.exceptions import BotoCoreError, ClientError

READS = ("describe_", "list_", "get_", "head_", "batch_get_")


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "service": {"required": True},
            "operation": {"required": True},
            "arguments": {"type": "dict", "default": {}},
            "missing": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    service, operation = module.params["service"], module.params["operation"]
    changes = not operation.startswith(READS)
    if changes and module.check_mode:
        module.exit_json(changed=True, found=True, answer={})
    try:
        answer = getattr(module.client(service), operation)(**module.params["arguments"])
    except ClientError as error:
        if error.response["Error"]["Code"] in module.params["missing"]:
            module.exit_json(changed=False, found=False, answer={})
        module.fail_json_aws(error, msg=f"{service} {operation}")
    except (BotoCoreError, AttributeError) as error:
        module.fail_json(msg=f"{service} {operation}: {error}")
    answer.pop("ResponseMetadata", None)
    module.exit_json(changed=changes, found=True, answer=answer)


if __name__ == "__main__":
    main()
