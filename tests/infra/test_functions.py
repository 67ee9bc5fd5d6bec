"""Functions: what they run on, what they are told, and what they may do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.infra.templates import Resource, Templates, as_list, text
from vireo.ports import Table
from vireo.settings import Settings, WrongSettings

ROOT = Path(__file__).parents[2]
MEMORY = {"dev": 1024, "staging": 1024, "prod": 2048}
#: Logical ids of tables begin so.
LOGICAL = {table: table.value.title().replace("_", "") for table in Table}
#: Actions for which AWS has no resources to name.
NAMELESS = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
    "ecr:GetAuthorizationToken",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}


def functions(cloud: Templates) -> dict[str, Resource]:
    return {r.id: r for r in cloud.resources("AWS::Lambda::Function")}


def test_every_function_is_as_ours_are(cloud: Templates) -> None:
    found = functions(cloud)
    assert set(found) == {"RecommendFunction", "TrainingFunction"}
    for function in found.values():
        properties = function.properties
        assert properties["Architectures"] == ["arm64"]
        assert properties["TracingConfig"] == {"Mode": "Active"}
        assert properties["LoggingConfig"]["LogFormat"] == "JSON"
        assert properties["Role"] == {
            "Fn::GetAtt": [function.id.replace("Function", "Role"), "Arn"]
        }
        in_a_network = cloud.environment != "dev"
        assert ("VpcConfig" in properties) == in_a_network
    serving = found["RecommendFunction"].properties
    assert serving["Runtime"] == "python3.13"
    assert serving["MemorySize"] == MEMORY[cloud.environment]
    assert ("SnapStart" in serving) == (cloud.environment != "dev")
    assert found["TrainingFunction"].properties["PackageType"] == "Image"


def test_handlers_are_where_functions_look_for_them(cloud: Templates) -> None:
    serving = functions(cloud)["RecommendFunction"]
    module, name = serving.properties["Handler"].rsplit(".", 1)
    asset = serving.properties["Code"]["S3Key"].removesuffix(".zip")
    path = cloud.folder / f"asset.{asset}" / (module.replace(".", "/") + ".py")
    assert re.search(rf"^{name} = ", path.read_text(), re.MULTILINE)
    others = [p.name for p in (cloud.folder / f"asset.{asset}").iterdir()]
    assert others == ["recommend"]


def test_the_image_is_built_from_what_it_needs(cloud: Templates) -> None:
    source = cloud.one("AWS::CodeBuild::Project").properties["Source"]["Location"]
    asset = re.search(r"/([0-9a-f]{64})\.zip", text(source))
    assert asset is not None
    folder = cloud.folder / f"asset.{asset[1]}"
    for name in ("lambdas/training/handler.py", "layers/core/python/vireo/training/steps.py"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    tops = {p.name for p in folder.iterdir()}
    assert tops == {"lambdas", "layers", "requirements.txt"}
    assert not list(folder.rglob("__pycache__"))
    image = json.dumps(functions(cloud)["TrainingFunction"].properties["Code"])
    assert f":{asset[1]}" in image, "the image's tag is the hash of its source"


def environment(function: Resource) -> dict[str, str]:
    return {k: text(v) for k, v in function.properties["Environment"]["Variables"].items()}


def test_functions_are_told_what_settings_read(cloud: Templates) -> None:
    for function in functions(cloud).values():
        settings = Settings.from_env(environment(function))
        assert settings.environment == cloud.environment
        assert settings.metrics_namespace == f"Vireo/{cloud.environment}"
        for table in Table:
            assert f"Ref{LOGICAL[table]}" in settings.table(table)
        cached = cloud.environment != "dev" and function.id == "RecommendFunction"
        assert (settings.redis_url is not None) == cached
        if settings.redis_url is not None:
            assert settings.redis_url.startswith("rediss://")
            assert settings.redis_identity == f"vireo-{cloud.environment}"


def test_a_missing_or_misspelt_variable_is_refused(cloud: Templates) -> None:
    needed = {name for name, field in Settings.model_fields.items() if field.is_required()}
    for function in functions(cloud).values():
        told = environment(function)
        for name in needed:
            variable = f"VIREO_{name.upper()}"
            without = {k: v for k, v in told.items() if k != variable}
            with pytest.raises(WrongSettings, match=f"{variable} is not set"):
                Settings.from_env(without)
            with pytest.raises(WrongSettings, match=f"{variable}S is no setting"):
                Settings.from_env({**without, f"{variable}S": "x"})


def test_no_wildcard_where_a_resource_has_a_name(cloud: Templates) -> None:
    checked = 0
    for where, statement in cloud.statements():
        actions = as_list(statement["Action"])
        assert not [a for a in actions if "*" in a], where
        for resource in as_list(statement["Resource"]):
            if resource == "*":
                assert set(actions) <= NAMELESS, where
            else:
                # Blobs begin with the tenant, whose name no template knows.
                name = re.sub(r"^<vireo-\w+-data-blobs>/\*/[a-z]+/\*$", "", text(resource))
                # Versions of the serving function have numbers.
                name = re.sub(r"^<vireo-\w+-recommender-function>:\*$", "", name)
                assert "*" not in name, f"{where}: {name}"
        checked += 1
    assert checked > 10


def allowed(cloud: Templates, role: str) -> dict[str, set[str]]:
    """Actions by the kind of resource that they are allowed on."""
    found: dict[str, set[str]] = {}
    for statement in cloud.statements_of(role):
        for resource in as_list(statement["Resource"]):
            name = text(resource)
            kind = next((t.value for t in Table if f"GetAtt{LOGICAL[t]}" in name), name)
            found.setdefault(kind, set()).update(as_list(statement["Action"]))
    return found


def test_what_recommend_may_do(clouds: Mapping[str, Templates]) -> None:
    may = allowed(clouds["prod"], "RecommendRole")
    assert may["registry"] == {"dynamodb:GetItem", "dynamodb:UpdateItem"}
    assert may["viewers"] == {"dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
    assert may["<vireo-prod-data-blobs>/*/bundles/*"] == {"s3:GetObject"}
    assert may["<vireo-prod-data-blobs>"] == {"s3:ListBucket"}
    assert {a for kind in may.values() for a in kind if a.startswith("s3:Put")} == set()
    signing_in = [kind for kind, actions in may.items() if "elasticache:Connect" in actions]
    assert sorted(":".join(k.split(":")[-2:]) for k in signing_in) == [
        "replicationgroup:vireo-prod",
        "user:vireo-prod",
    ]
    assert "elasticache:Connect" not in str(allowed(clouds["dev"], "RecommendRole"))


def test_what_training_may_do(cloud: Templates) -> None:
    may = allowed(cloud, "TrainingRole")
    assert not [kind for kind, actions in may.items() if "dynamodb:DeleteItem" in actions]
    assert "settings" not in may
    for folder in ("bundles", "events", "runs"):
        assert may[f"<vireo-{cloud.environment}-data-blobs>/*/{folder}/*"] == {
            "s3:GetObject",
            "s3:PutObject",
            "s3:AbortMultipartUpload",
        }


def test_the_alias_serves_and_prod_shifts_by_steps(cloud: Templates) -> None:
    alias = cloud.one("AWS::Lambda::Alias")
    assert alias.properties["Name"] == "live"
    (version,) = cloud.resources("AWS::Lambda::Version")
    assert alias.properties["FunctionVersion"] == {"Fn::GetAtt": [version.id, "Version"]}
    assert version.whole["DeletionPolicy"] == "Retain"
    groups = list(cloud.resources("AWS::CodeDeploy::DeploymentGroup"))
    assert len(groups) == (cloud.environment == "prod")
    for group in groups:
        properties = group.properties
        assert properties["AutoRollbackConfiguration"]["Enabled"] is True
        assert "DEPLOYMENT_STOP_ON_ALARM" in properties["AutoRollbackConfiguration"]["Events"]
        assert len(properties["AlarmConfiguration"]["Alarms"]) == 2
        assert "Canary" in text(properties["DeploymentConfigName"])
        assert alias.whole["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["ApplicationName"]
