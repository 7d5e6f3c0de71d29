"""What a second plan may want to change on a server that plays AWS, and nothing else."""

import re
from typing import Any

# What moto is told, by its environment.
MOTO = {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true", "MOTO_ACM_VALIDATION_WAIT": "0"}

# What moto 5.2 forgets or gets wrong, by resource: the attributes that a second plan may want to change, and why.
MOTO_FORGETS = {
    r"aws_vpc_security_group_(in|e)gress_rule\.\w+": ({"description"}, "of a rule between two groups"),
    r"aws_db_instance\.this": (
        {"performance_insights_enabled", "performance_insights_kms_key_id"},
        "Performance Insights",
    ),
    r"aws_db_parameter_group\.this": ({"parameter"}, "answers with no parameters"),
}


def unexpected_changes(plan: dict[str, Any]) -> list[str]:
    """What a plan (`terraform show -json`) would change, apart from what moto is known to forget."""
    return [change for each in plan.get("resource_changes", []) if (change := _unexpected(each))]


def _unexpected(resource: dict[str, Any]) -> str:
    """What a plan would do to the resource, apart from what moto is known to forget."""
    change = resource["change"]
    if resource["mode"] == "data" or change["actions"] == ["no-op"]:
        return ""
    before, after = change["before"] or {}, change["after"] or {}
    differ = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    for pattern, (forgotten, _) in MOTO_FORGETS.items():
        if re.search(pattern, resource["address"]) and change["actions"] == ["update"] and differ <= forgotten:
            return ""
    return f"{resource['address']}: {change['actions']} {sorted(differ)}"
