"""Templates as such: checked, the same every time, small enough, and as the inventory says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest
from cfnlint.config import ManualArgs

import app
from stacks.environments import DEV
from stacks.packages import NotBuilt, Packages
from tests.infra.conftest import synthesise
from tests.infra.templates import Templates

INVENTORY = Path(__file__).with_name("inventory.json")
#: What must never get another logical id: CloudFormation would make a new one, without the data.
STATEFUL = {
    "AWS::Cognito::UserPool",
    "AWS::DynamoDB::Table",
    "AWS::Kinesis::Stream",
    "AWS::S3::Bucket",
}
KB = 1024


def test_two_syntheses_are_equal(clouds: Mapping[str, Templates], tmp_path: Path) -> None:
    again = synthesise("prod", tmp_path)
    assert again.by_stack == clouds["prod"].by_stack
    assert sorted(p.name for p in tmp_path.glob("asset.*")) == sorted(
        p.name for p in clouds["prod"].folder.glob("asset.*")
    )


def test_the_inventory(clouds: Mapping[str, Templates]) -> None:
    """A resource more or less is seen in a review. To accept it, write what this test prints."""
    found = {name: inventory(cloud) for name, cloud in clouds.items()}
    if not INVENTORY.exists() or json.loads(INVENTORY.read_text()) != found:
        actual = INVENTORY.parents[2] / "build" / "inventory.json"
        actual.parent.mkdir(exist_ok=True)
        actual.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        pytest.fail(f"{INVENTORY} is stale; compare it with {actual}, and copy that over it")


def inventory(cloud: Templates) -> dict[str, Any]:
    """How many of each type every stack has, and the ids of what holds data."""
    return {
        stack: {
            "resources": dict(sorted(Counter(r.type for r in found).items())),
            "stateful": sorted(r.id for r in found if r.type in STATEFUL),
        }
        for stack in cloud.by_stack
        for found in [list(cloud.resources(stack=stack))]
    }


def test_cfn_lint_finds_nothing(cloud: Templates) -> None:
    config = ManualArgs(
        regions=["eu-central-1", "us-east-1"],
        # The CDK waits for a role by name as well as by reference; and the API's stack tells all
        # that a client needs, which it has from the callers' stack.
        ignore_checks=["W3005", "W6001"],
    )
    for path in sorted(cloud.folder.glob("*.template.json")):
        found = cfnlint.api.lint(path.read_text(), config=config)
        assert not found, f"{path.name}: {found}"


def test_cdk_nag_looked_and_every_acceptance_has_a_reason(cloud: Templates) -> None:
    report = json.loads((cloud.folder / "validation-report.json").read_text())
    (nag,) = report["pluginReports"]
    assert (nag["pluginName"], nag["conclusion"]) == ("AwsSolutions", "success")
    assert nag["suppressedViolations"]
    for accepted in nag["suppressedViolations"]:
        assert len(accepted["reason"].split()) >= 5, accepted
    used = {(v["acknowledgedId"], v["acknowledgedAt"]) for v in nag["suppressedViolations"]}
    assert set(acceptances(cloud)) == used, "what is accepted is found, too"


def acceptances(cloud: Templates) -> Iterator[tuple[str, str]]:
    """Rule and construct of all that our stacks accept."""
    for path in cloud.folder.glob("*.metadata.json"):
        for construct, entries in json.loads(path.read_text()).items():
            for entry in entries:
                if entry["type"] == "aws:cdk:acknowledged-rules":
                    for rule in entry["data"]:
                        if rule.startswith("AwsSolutions::"):
                            yield rule, construct.lstrip("/")


def test_a_finding_fails_the_synthesis(tmp_path: Path) -> None:
    """A bucket without TLS and access logs, which no rule of ours accepts."""
    import aws_cdk as cdk
    from aws_cdk import aws_s3 as s3
    from cdk_nag import AwsSolutionsChecks

    bare = cdk.App(outdir=str(tmp_path))
    s3.Bucket(cdk.Stack(bare, "bare"), "Bucket")
    cdk.Validations.of(bare).add_plugins(AwsSolutionsChecks(bare))
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        bare.synth()


def test_sizes_are_under_the_limits(cloud: Templates) -> None:
    for stack, template in cloud.by_stack.items():
        size = len(json.dumps(template, indent=1))
        assert size < 1000 * KB * 0.8, f"{stack} has {size} bytes; CloudFormation takes 1 MB"
        assert len(template["Resources"]) < 400, f"{stack}: CloudFormation takes 500 resources"
        assert len(template.get("Outputs", {})) < 160, f"{stack}: CloudFormation takes 200 outputs"
    for role in cloud.resources("AWS::IAM::Role"):
        policies = role.properties.get("Policies", []) + [
            policy.properties
            for policy in cloud.resources("AWS::IAM::Policy", stack=role.stack)
            if {"Ref": role.id} in policy.properties["Roles"]
        ]
        # ARNs are longer than what stands for them here.
        size = sum(len(json.dumps(p["PolicyDocument"])) for p in policies)
        assert size < 10_240 * 0.8, f"{role.id}: IAM takes 10 KB of inline policies"
    for function in cloud.resources("AWS::Lambda::Function"):
        size = len(json.dumps(function.properties.get("Environment")))
        assert size < 4 * KB * 0.8, f"{function.id}: Lambda takes 4 KB of environment"
    for alarm in cloud.resources("AWS::CloudWatch::Alarm"):
        metrics = [m for m in alarm.properties.get("Metrics", []) if "MetricStat" in m]
        assert len(metrics) <= 10, f"{alarm.id}: CloudWatch takes 10 metrics in an expression"


def test_no_name_of_an_account_or_a_region_is_in_a_template(cloud: Templates) -> None:
    manifest = json.loads((cloud.folder / "manifest.json").read_text())
    stacks = [a for a in manifest["artifacts"].values() if a["type"] == "aws:cloudformation:stack"]
    assert len(stacks) == len(cloud.by_stack)
    assert {stack["environment"] for stack in stacks} == {"aws://unknown-account/unknown-region"}
    assert "missing" not in manifest, "the synthesis asks an account for something"


def test_layers_that_were_not_built_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("stacks.packages.ROOT", tmp_path)
    with pytest.raises(NotBuilt, match="core"):
        Packages(built=True).layer("core")


def test_an_image_may_be_named(tmp_path: Path, monkeypatch: Any) -> None:
    context = {"image": "one-of-before", "packages": "sources", "environment": "dev"}
    monkeypatch.setattr(app, "FLAGS", {**app.FLAGS, **context})
    app.synthesise(folder=str(tmp_path))
    template = json.loads((tmp_path / "vireo-dev-training.template.json").read_text())
    code = template["Resources"]["TrainingFunction"]["Properties"]["Code"]
    assert json.dumps(code).count(":one-of-before") == 1
    assert DEV.name == "dev"
