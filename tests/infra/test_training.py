"""Training in AWS is the machine of the laptop, and whoever listens hears of its failures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.infra.templates import Templates, as_list, text
from tests.sources import ROOT
from upkeep.app import keeper
from vireo.homes.local import home
from vireo.training.run import Run


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
    assert "events.amazonaws.com" not in topic, "it publishes by a role: see test_environments.py"
    assert rule["Targets"][0]["RoleArn"]


def test_the_schedule_starts_a_run_that_steps_accept(clouds: Mapping[str, Templates]) -> None:
    schedule = clouds["prod"].one("AWS::Scheduler::Schedule", "Weekly").properties
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


def test_what_runs_by_the_clock_knows_what_is_asked_of_it(cloud: Templates, tmp_path: Path) -> None:
    keep, asked = keeper(home(tmp_path)), []
    for schedule in cloud.resources("AWS::Scheduler::Schedule"):
        target = schedule.properties["Target"]
        if text(target["Arn"]) == "<UpkeepFunction.Arn>":
            keep(json.loads(target["Input"]), None)
            asked.append(schedule.properties["ScheduleExpression"])
    assert asked == ["rate(1 hour)", "rate(1 day)"]
    with pytest.raises(ValueError, match="no such task"):
        keep({"task": "nothing"}, None)


def test_what_cannot_be_delivered_is_kept(cloud: Templates) -> None:
    """Of every schedule and every rule, each of which may put it there."""
    queue = cloud.one("AWS::SQS::Queue")
    arn = {"Fn::GetAtt": [queue.id, "Arn"]}
    targets = [s.properties["Target"] for s in cloud.resources("AWS::Scheduler::Schedule")]
    for target in targets:
        (role, _) = target["RoleArn"]["Fn::GetAtt"]
        may = [s for s in cloud.statements_of(role) if s["Action"] == "sqs:SendMessage"]
        assert [s["Resource"] for s in may] == [arn]
    rules = list(cloud.resources("AWS::Events::Rule"))
    targets += [target for rule in rules for target in rule.properties["Targets"]]
    assert len(targets) == (4 if cloud.environment == "prod" else 3)
    assert all(target["DeadLetterConfig"] == {"Arn": arn} for target in targets)
    policy = cloud.one("AWS::SQS::QueuePolicy").properties["PolicyDocument"]["Statement"]
    sending = [s for s in policy if s["Effect"] == "Allow"]
    assert [s["Condition"]["ArnEquals"]["aws:SourceArn"] for s in sending] == [
        {"Fn::GetAtt": [rule.id, "Arn"]} for rule in rules
    ]
    assert queue.properties["SqsManagedSseEnabled"] is True


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
