"""Functions: what they run on, what they are told, and what they may do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest

from tests.infra.templates import Resource, Templates, as_list, text
from tests.sources import ROOT
from vireo.ports import Table
from vireo.settings import Settings, WrongSettings

NAMES = ("Recommend", "Events", "Tracking", "Delivery", "Training", "Upkeep")
FUNCTIONS = {f"{n}Function" for n in NAMES}
#: Those that API Gateway calls, by an alias.
ALIASED = {"RecommendFunction", "EventsFunction"}
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
    assert set(found) == FUNCTIONS
    for function in found.values():
        properties = function.properties
        assert properties["Architectures"] == ["arm64"]
        assert properties["TracingConfig"] == {"Mode": "Active"}
        assert properties["LoggingConfig"]["LogFormat"] == "JSON"
        assert properties["Role"] == {
            "Fn::GetAtt": [function.id.replace("Function", "Role"), "Arn"]
        }
        # What calls nothing needs no way to it.
        in_a_network = cloud.environment != "dev" and function.id != "DeliveryFunction"
        assert ("VpcConfig" in properties) == in_a_network
        if function.id == "TrainingFunction":
            assert properties["PackageType"] == "Image"
            continue
        assert properties["Runtime"] == "python3.13"
        assert properties["MemorySize"] == MEMORY[cloud.environment]
        snapped = cloud.environment != "dev" and function.id in ALIASED
        assert ("SnapStart" in properties) == snapped


@pytest.mark.parametrize("package", ["recommend", "events", "tracking", "delivery", "upkeep"])
def test_handlers_are_where_functions_look_for_them(cloud: Templates, package: str) -> None:
    function = functions(cloud)[f"{package.title()}Function"]
    module, name = function.properties["Handler"].rsplit(".", 1)
    asset = function.properties["Code"]["S3Key"].removesuffix(".zip")
    path = cloud.folder / f"asset.{asset}" / (module.replace(".", "/") + ".py")
    assert re.search(rf"^{name} = ", path.read_text(), re.MULTILINE)
    others = [p.name for p in (cloud.folder / f"asset.{asset}").iterdir()]
    assert others == [package]


def test_the_image_is_built_from_what_it_needs(cloud: Templates) -> None:
    source = cloud.one("AWS::CodeBuild::Project").properties["Source"]["Location"]
    asset = re.search(r"/([0-9a-f]{64})\.zip", text(source))
    assert asset is not None
    folder = cloud.folder / f"asset.{asset[1]}"
    for name in ("lambdas/training/handler.py", "layers/core/python/vireo/training/steps.py"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    tops = {p.name for p in folder.iterdir()}
    assert tops == {"lambdas", "layers"}
    assert not list(folder.rglob("__pycache__"))
    image = json.dumps(functions(cloud)["TrainingFunction"].properties["Code"])
    assert f":{asset[1]}" in image, "the image's tag is the hash of its source"


def told(cloud: Templates) -> dict[str, dict[str, str]]:
    """The environment variables of every function that has a home."""
    found = functions(cloud)
    delivery = found.pop("DeliveryFunction").properties["Environment"]
    assert delivery == {"Variables": {"PYDANTIC_DISABLE_PLUGINS": "__all__"}}
    return {
        name: {k: text(v) for k, v in function.properties["Environment"]["Variables"].items()}
        for name, function in found.items()
    }


def test_functions_are_told_what_settings_read(cloud: Templates) -> None:
    for name, environment in told(cloud).items():
        settings = Settings.from_env(environment)
        on_a_zip = name != "TrainingFunction"
        assert (environment.get("PYDANTIC_DISABLE_PLUGINS") == "__all__") == on_a_zip
        assert settings.environment == cloud.environment
        assert settings.metrics_namespace == f"Vireo/{cloud.environment}"
        for table in Table:
            assert f"Ref{LOGICAL[table]}" in settings.table(table)
        cached = cloud.environment != "dev" and name in {"RecommendFunction", "EventsFunction"}
        assert (settings.redis_url is not None) == cached
        if settings.redis_url is not None:
            assert settings.redis_url.startswith("rediss://")
            assert settings.redis_identity == f"vireo-{cloud.environment}"


def test_a_missing_or_misspelt_variable_is_refused(cloud: Templates) -> None:
    needed = {name for name, field in Settings.model_fields.items() if field.is_required()}
    for environment in told(cloud).values():
        for name in needed:
            variable = f"VIREO_{name.upper()}"
            without = {k: v for k, v in environment.items() if k != variable}
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
                name = re.sub(r"^<vireo-\w+-data-blobs>/\*/[a-z-]+/\*$", "", text(resource))
                # What AWS puts aside it names by the time.
                name = re.sub(r"^<vireo-\w+-data-blobs>/(aws/lambda|_system/\w+)/\*$", "", name)
                # Versions of the serving function have numbers.
                name = re.sub(r"^<vireo-\w+-(recommender-function|\w+-versions)>:\*$", "", name)
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
    assert may["viewers"] == {
        f"dynamodb:{action}" for action in ("GetItem", "Query", "UpdateItem", "DeleteItem")
    }
    assert may["<vireo-prod-data-blobs>/*/bundles/*"] == {"s3:GetObject"}
    assert may["<vireo-prod-data-blobs>/*/dead-letters/*"] == {"s3:GetObject", "s3:DeleteObject"}
    assert may["<vireo-prod-data-blobs>"] == {"s3:ListBucket"}
    assert {a for kind in may.values() for a in kind if a.startswith("s3:Put")} == set()


def test_what_uses_the_cache_may_sign_in_there(clouds: Mapping[str, Templates]) -> None:
    for role in ("RecommendRole", "EventsRole"):
        may = allowed(clouds["prod"], role)
        signing_in = [kind for kind, actions in may.items() if "elasticache:Connect" in actions]
        assert sorted(":".join(k.split(":")[-2:]) for k in signing_in) == [
            "replicationgroup:vireo-prod",
            "user:vireo-prod",
        ]
        assert "elasticache:Connect" not in str(allowed(clouds["dev"], role))
    for role in ("TrackingRole", "TrainingRole", "UpkeepRole"):
        assert "elasticache:Connect" not in str(allowed(clouds["prod"], role))


def test_what_training_may_do(cloud: Templates) -> None:
    may = allowed(cloud, "TrainingRole")
    # An import puts whole viewers in the place of what is kept of them.
    assert [kind for kind, actions in may.items() if "dynamodb:DeleteItem" in actions] == [
        "viewers"
    ]
    assert may["settings"] == {"dynamodb:GetItem", "dynamodb:Query"}
    for folder, more in (("bundles", set()), ("events", {"Delete"}), ("runs", {"Delete"})):
        assert may[f"<vireo-{cloud.environment}-data-blobs>/*/{folder}/*"] == {
            "s3:AbortMultipartUpload",
            *(f"s3:{action}Object" for action in {"Get", "Put"} | more),
        }


def test_what_the_functions_of_events_may_do(cloud: Templates) -> None:
    intake, tracking = allowed(cloud, "EventsRole"), allowed(cloud, "TrackingRole")
    assert intake.pop("registry") == tracking.pop("registry") == {"dynamodb:GetItem"}
    assert [may for may in intake.values() if may != {"elasticache:Connect"}] == [
        {"kinesis:PutRecords"}
    ]
    assert tracking.pop("overlay") == {"dynamodb:GetItem", "dynamodb:UpdateItem"}
    assert tracking.pop("viewers") == {
        f"dynamodb:{action}" for action in ("GetItem", "Query", "UpdateItem")
    }
    assert tracking == {
        f"<vireo-{cloud.environment}-data-blobs>/*/dead-letters/*": {"s3:PutObject"}
    }
    assert cloud.statements_of("DeliveryRole") == []


def test_upkeep_may_delete_versions_and_no_function(cloud: Templates) -> None:
    may = allowed(cloud, "UpkeepRole")
    deleting = {kind for kind, actions in may.items() if "lambda:DeleteFunction" in actions}
    name = f"vireo-{cloud.environment}"
    assert deleting == {f"<{name}-{part}-versions>:*" for part in ("events", "recommender")}
    assert may["registry"] == {f"dynamodb:{a}Item" for a in ("Get", "Delete")} | {"dynamodb:Query"}
    removing = {kind for kind, actions in may.items() if "s3:DeleteObject" in actions}
    folders = ("bundles", "events", "runs")
    assert removing == {f"<{name}-data-blobs>/*/{folder}/*" for folder in folders}
    assert not [a for actions in may.values() for a in actions if a.startswith("s3:Get")]


def test_the_aliases_serve_and_prod_shifts_by_steps(cloud: Templates) -> None:
    for stack in ("events", "recommender"):
        (alias,) = cloud.resources("AWS::Lambda::Alias", stack=stack)
        assert alias.properties["Name"] == "live"
        (version,) = cloud.resources("AWS::Lambda::Version", stack=stack)
        assert alias.properties["FunctionVersion"] == {"Fn::GetAtt": [version.id, "Version"]}
        assert version.whole["DeletionPolicy"] == "Retain"
    groups = list(cloud.resources("AWS::CodeDeploy::DeploymentGroup"))
    assert len(groups) == (2 if cloud.environment == "prod" else 0)
    for group in groups:
        properties = group.properties
        assert properties["AutoRollbackConfiguration"]["Enabled"] is True
        assert "DEPLOYMENT_STOP_ON_ALARM" in properties["AutoRollbackConfiguration"]["Events"]
        names = {text(a["Name"]) for a in properties["AlarmConfiguration"]["Alarms"]}
        alarms = list(cloud.resources("AWS::CloudWatch::Alarm", stack=group.stack))
        assert names == {f"<{alarm.id}>" for alarm in alarms}
        assert len(names) == (4 if group.stack == "recommender" else 3)
        assert "Canary" in text(properties["DeploymentConfigName"])
        (alias,) = cloud.resources("AWS::Lambda::Alias", stack=group.stack)
        shifting = alias.whole["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        assert shifting["DeploymentGroupName"] == {"Ref": group.id}
