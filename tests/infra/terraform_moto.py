"""A moto server that Terraform's AWS provider can work with, in a process of its own.

`python -m tests.infra.terraform_moto` prints its address and serves until it is stopped. Moto 5.2 lacks a few calls
that the provider makes, and repeats until its patience ends; they are added here, with what AWS answers. What moto
merely forgets is listed in terraform_plan.py instead, unless the provider would make the thing anew for it.
"""

import json
import re
import sys
from typing import Any

from botocore import xform_name
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.elasticache.responses import ElastiCacheResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def _autoscaling_tags() -> None:
    """The provider reads the tags that it has registered a target with."""
    kept: dict[str, dict[str, str]] = {}
    register = ApplicationAutoScalingResponse.register_scalable_target

    def register_scalable_target(self: ApplicationAutoScalingResponse) -> str:
        answer = register(self)
        kept.setdefault(json.loads(answer)["ScalableTargetARN"], {}).update(self._get_param("Tags") or {})
        return answer

    def list_tags_for_resource(self: ApplicationAutoScalingResponse) -> str:
        return json.dumps({"Tags": kept.get(self._get_param("ResourceARN"), {})})

    ApplicationAutoScalingResponse.register_scalable_target = register_scalable_target
    ApplicationAutoScalingResponse.list_tags_for_resource = list_tags_for_resource


def _cache_parameter_groups() -> None:
    groups: dict[str, dict[str, Any]] = {}
    parameters: dict[str, list[dict[str, Any]]] = {}

    def create_cache_parameter_group(self: ElastiCacheResponse) -> ActionResult:
        asked = self._get_params()
        name = asked["CacheParameterGroupName"]
        groups[name] = {
            "CacheParameterGroupName": name,
            "CacheParameterGroupFamily": asked["CacheParameterGroupFamily"],
            "Description": asked["Description"],
            "ARN": f"arn:aws:elasticache:{self.region}:{self.current_account}:parametergroup:{name}",
        }
        self.elasticache_backend.arn_regex = re.compile("^arn:aws:elasticache:")  # moto's knows no such group
        self.elasticache_backend.add_tags_to_resource(groups[name]["ARN"], asked.get("Tags", []))
        return ActionResult({"CacheParameterGroup": groups[name]})

    def modify_cache_parameter_group(self: ElastiCacheResponse) -> ActionResult:
        asked = self._get_params()
        name = asked["CacheParameterGroupName"]
        parameters[name] = [{**each, "Source": "user"} for each in asked["ParameterNameValues"]]
        return ActionResult({"CacheParameterGroupName": name})

    def describe_cache_parameter_groups(self: ElastiCacheResponse) -> ActionResult:
        return ActionResult({"CacheParameterGroups": [groups[self._get_params()["CacheParameterGroupName"]]]})

    def describe_cache_parameters(self: ElastiCacheResponse) -> ActionResult:
        return ActionResult({"Parameters": parameters.get(self._get_params()["CacheParameterGroupName"], [])})

    def delete_cache_parameter_group(self: ElastiCacheResponse) -> EmptyResult:
        groups.pop(self._get_params()["CacheParameterGroupName"])
        return EmptyResult()

    for call in (
        create_cache_parameter_group,
        modify_cache_parameter_group,
        describe_cache_parameter_groups,
        describe_cache_parameters,
        delete_cache_parameter_group,
    ):
        setattr(ElastiCacheResponse, call.__name__, call)


def _cache_nodes() -> None:
    """A replication group's nodes are cache clusters too, which tell the provider version and encryption."""
    nodes: dict[str, dict[str, Any]] = {}
    create = ElastiCacheResponse.create_replication_group
    describe = ElastiCacheResponse.describe_cache_clusters

    def create_replication_group(self: ElastiCacheResponse) -> ActionResult:
        asked = self._get_params()
        answer = create(self)
        group = self.elasticache_backend.replication_groups[asked["ReplicationGroupId"]]
        group.member_clusters.clear()
        for number in range(1, asked["NumCacheClusters"] + 1):
            name = f"{asked['ReplicationGroupId']}-{number:03}"
            nodes[name] = {
                "CacheClusterId": name,
                "CacheClusterStatus": "available",
                "ReplicationGroupId": asked["ReplicationGroupId"],
                "Engine": asked["Engine"],
                "EngineVersion": f"{asked['EngineVersion']}.1",
                "CacheNodeType": asked["CacheNodeType"],
                "AtRestEncryptionEnabled": asked["AtRestEncryptionEnabled"],
                "TransitEncryptionEnabled": asked["TransitEncryptionEnabled"],
                "TransitEncryptionMode": asked["TransitEncryptionMode"],
                "NumCacheNodes": 1,
                "AutoMinorVersionUpgrade": asked["AutoMinorVersionUpgrade"],
                "PreferredMaintenanceWindow": asked["PreferredMaintenanceWindow"],
                "CacheParameterGroup": {"CacheParameterGroupName": asked["CacheParameterGroupName"]},
                "CacheSubnetGroupName": asked["CacheSubnetGroupName"],
                "SecurityGroups": [
                    {"SecurityGroupId": group, "Status": "active"} for group in asked["SecurityGroupIds"]
                ],
            }
            group.member_clusters.append(name)
        return answer

    def describe_cache_clusters(self: ElastiCacheResponse) -> ActionResult:
        name = self._get_params().get("CacheClusterId")
        return ActionResult({"CacheClusters": [nodes[name]]}) if name in nodes else describe(self)

    ElastiCacheResponse.create_replication_group = create_replication_group
    ElastiCacheResponse.describe_cache_clusters = describe_cache_clusters


def _service_settings() -> None:
    """Moto forgets where a service's tasks shall run and how long they may take to come up."""
    create = EC2ContainerServiceResponse.create_service

    def create_service(self: EC2ContainerServiceResponse) -> ActionResult:
        answer = create(self)
        asked = json.loads(self.body)
        service = self.ecs_backend.describe_services(asked["cluster"], [asked["serviceName"]])[0][0]
        service.launch_type = asked.get("launchType")
        for setting in ("capacityProviderStrategy", "healthCheckGracePeriodSeconds", "availabilityZoneRebalancing"):
            if setting in asked:
                setattr(service, xform_name(setting), asked[setting])
        return answer

    EC2ContainerServiceResponse.create_service = create_service


def mend_moto() -> None:
    _service_settings()
    _cache_nodes()
    _autoscaling_tags()
    _cache_parameter_groups()


def main() -> None:
    mend_moto()
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
