"""Training in AWS is the machine of the laptop, and whoever listens hears of its failures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.infra.templates import Templates, as_list, text
from vireo.training.run import Run

ROOT = Path(__file__).parents[2]


def test_the_machine_is_the_one_of_the_laptop(cloud: Templates) -> None:
    machine = cloud.one("AWS::StepFunctions::StateMachine").properties
    definition = (ROOT / "statemachines/training.asl.json").read_text()
    assert machine["DefinitionString"] == definition
    assert machine["DefinitionSubstitutions"] == {
        "TrainingFunction": {"Fn::GetAtt": ["TrainingFunction", "Arn"]}
    }
    assert set(machine["DefinitionSubstitutions"]) == {
        part.split("}")[0] for part in definition.split("${")[1:]
    }
    assert machine["LoggingConfiguration"]["Level"] == "ALL"
    assert machine["TracingConfiguration"] == {"Enabled": True}


def test_the_machine_may_call_its_function_only(cloud: Templates) -> None:
    (role,) = (r.id for r in cloud.resources("AWS::IAM::Role") if r.id.startswith("MachineRole"))
    calls = [s for s in cloud.statements_of(role) if "lambda" in json.dumps(s["Action"])]
    assert [(s["Action"], text(s["Resource"])) for s in calls] == [
        ("lambda:InvokeFunction", "<TrainingFunction.Arn>")
    ]


def test_failures_are_told(cloud: Templates) -> None:
    rule = cloud.one("AWS::Events::Rule").properties
    detail = rule["EventPattern"]["detail"]
    assert set(detail["status"]) == {"FAILED", "TIMED_OUT", "ABORTED"}
    machine = cloud.one("AWS::StepFunctions::StateMachine").id
    assert detail["stateMachineArn"] == [{"Ref": machine}]
    assert "Notices" in json.dumps(rule["Targets"][0]["Arn"])
    topic = json.dumps(cloud.one("AWS::SNS::TopicPolicy").properties)
    key = json.dumps(cloud.one("AWS::KMS::Key").properties)
    for service in ("events.amazonaws.com", "cloudwatch.amazonaws.com"):
        assert service in topic
        assert service in key


def test_the_schedule_starts_a_run_that_steps_accept(clouds: Mapping[str, Templates]) -> None:
    schedule = clouds["prod"].one("AWS::Scheduler::Schedule").properties
    document = schedule["Target"]["Input"].replace(
        "<aws.scheduler.execution-id>", "d32c5kddcf5bb8c3"
    )
    run = Run.of(json.loads(document))
    assert (run.run_id, run.tenant, run.trigger) == (
        "weekly-d32c5kddcf5bb8c3",
        "default",
        "schedule",
    )
    assert schedule["ScheduleExpression"] == "cron(0 3 ? * SUN *)"


def test_the_builder_is_an_arm_machine_that_pushes_to_one_repository(cloud: Templates) -> None:
    project = cloud.one("AWS::CodeBuild::Project").properties
    assert project["Environment"]["Type"] == "ARM_CONTAINER"
    names = {v["Name"] for v in project["Environment"]["EnvironmentVariables"]}
    assert names == {"REPOSITORY_URI", "IMAGE_TAG"}
    repository = cloud.one("AWS::ECR::Repository").properties
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert "lambda.amazonaws.com" in json.dumps(repository["RepositoryPolicyText"])


def test_the_base_of_images_is_kept_and_can_be_pulled(cloud: Templates) -> None:
    """No rule of a higher number takes what an earlier rule selects."""
    repository = cloud.one("AWS::ECR::Repository").properties
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    selections = {rule["rulePriority"]: rule["selection"] for rule in rules}
    (base,) = (n for n, s in selections.items() if s.get("tagPrefixList") == ["base-"])
    assert base < max(selections)
    assert selections[max(selections)]["tagStatus"] == "any"
    script = (ROOT / "lambdas/training/build.sh").read_text()
    assert script.count("\nBASE=base-") == 1
    (role,) = (r.id for r in cloud.resources("AWS::IAM::Role") if r.id.startswith("BuildRole"))
    allowed = [a for s in cloud.statements_of(role) for a in as_list(s["Action"])]
    assert {"ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage", "ecr:PutImage"} <= set(allowed)
