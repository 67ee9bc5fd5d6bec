"""Training: the state machine that also runs on the laptop, and the function of its states."""

from __future__ import annotations

from functools import partial
from typing import Any

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as scheduled
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stacks.checks import accept
from stacks.data import DataStack
from stacks.environments import Environment
from stacks.events import EventsStack
from stacks.functions import ImageFunction, allow, allow_blobs, log_group
from stacks.images import ImagesStack
from stacks.network import NetworkStack
from stacks.packages import ROOT, Packages
from stacks.recommender import RecommenderStack
from stacks.upkeep import Upkeep
from vireo.ports import Table

#: The tenant of scheduled training.
TENANT = "default"


class TrainingStack(Stack):
    """`statemachines/training.asl.json`, with its function, notices of failures, and a schedule."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        packages: Packages,
        data: DataStack,
        images: ImagesStack,
        recommender: RecommenderStack,
        events_stack: EventsStack,
        network: NetworkStack | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        without_cache = {"redis_url": None, "redis_identity": None}
        settings = data.settings.model_copy(update={**without_cache, **recommender.release})
        self.function = ImageFunction(
            self,
            "Training",
            description="Every state of training",
            repository=images.repository,
            tag=images.tag,
            settings=settings.as_env(),
            environment=environment,
            network=network,
            memory_mib=environment.training_memory_mib,
            disk_mib=environment.training_disk_mib,
        )
        self._permit(data)
        recommender.permit_release(self.function)
        self.machine = self._machine(environment)
        #: Messages that a schedule or a rule could not deliver, with the reason.
        self.undelivered = sqs.Queue(
            self,
            "Undelivered",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        accept(self.undelivered, "SQS3", "It is the queue of dead letters itself.")
        self._tell_failures(data)
        self.upkeep = Upkeep(
            self,
            "Clock",
            environment=environment,
            packages=packages,
            data=data,
            network=network,
            tenant=TENANT,
            undelivered=self.undelivered,
            versioned={
                recommender.stack_name: recommender.recommend,
                events_stack.stack_name: events_stack.intake,
            },
        )
        if environment.weekly_training:
            self._run_weekly()
        CfnOutput(self, "MachineArn", value=self.machine.state_machine_arn)

    def _permit(self, data: DataStack) -> None:
        may, tables = partial(allow, self.function), data.tables
        may("dynamodb", "GetItem", "Query", "UpdateItem", on=tables[Table.REGISTRY].table_arn)
        may("dynamodb", "GetItem", "Query", "UpdateItem", on=tables[Table.VIDEOS].table_arn)
        may("dynamodb", "Query", "UpdateItem", "DeleteItem", on=tables[Table.VIEWERS].table_arn)
        may("dynamodb", "GetItem", "UpdateItem", on=tables[Table.OVERLAY].table_arn)
        may("dynamodb", "GetItem", "Query", on=tables[Table.SETTINGS].table_arn)
        may("s3", "ListBucket", on=data.blobs_arn)
        allow_blobs(
            self.function,
            data,
            "GetObject",
            "PutObject",
            "AbortMultipartUpload",
            within=["bundles", "events", "runs"],
        )
        # Events of erased people are removed from the files.
        allow_blobs(self.function, data, "DeleteObject", within=["events", "runs"])

    def _machine(self, environment: Environment) -> sfn.StateMachine:
        group = log_group(
            self,
            "MachineLogs",
            environment,
            # With this prefix Step Functions needs no resource policy, whose number is limited.
            name=f"/aws/vendedlogs/states/vireo-{environment.name}-training",
        )
        role = iam.Role(
            self, "MachineRole", assumed_by=iam.ServicePrincipal("states.amazonaws.com")
        )
        machine = sfn.StateMachine(
            self,
            "Machine",
            definition_body=sfn.DefinitionBody.from_string(
                (ROOT / "statemachines" / "training.asl.json").read_text(encoding="utf-8")
            ),
            definition_substitutions={"TrainingFunction": self.function.function_arn},
            role=role,
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=group, level=sfn.LogLevel.ALL, include_execution_data=True
            ),
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["lambda:InvokeFunction"], resources=[self.function.function_arn]
            )
        )
        accept(role, "IAM5", "Delivery of logs and traces has no resources.", "Resource::*")
        return machine

    def _tell_failures(self, data: DataStack) -> None:
        """Notify subscribers of every run that failed, however it was started.

        The machine's own last state could not report a run that was stopped, or never started.
        """
        rule = events.Rule(
            self,
            "Failed",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "stateMachineArn": [self.machine.state_machine_arn],
                    "status": ["FAILED", "TIMED_OUT", "ABORTED"],
                },
            ),
        )
        role = iam.Role(self, "TellRole", assumed_by=iam.ServicePrincipal("events.amazonaws.com"))
        for actions, on in (
            (["sns:Publish"], data.notices.topic_arn),
            (["kms:Decrypt", "kms:GenerateDataKey"], data.notices_key.key_arn),
        ):
            role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[on]))
        status, name = "$.detail.status", "$.detail.name"
        rule.add_target(
            targets.SnsTopic(
                data.notices,
                message=events.RuleTargetInput.from_text(
                    f"Training run {events.EventField.from_path(name)} ended as "
                    f"{events.EventField.from_path(status)}. What to do: docs/operations.md"
                ),
                role=role.without_policy_updates(),
                dead_letter_queue=self.undelivered,
            )
        )

    def _run_weekly(self) -> None:
        scheduler.Schedule(
            self,
            "Weekly",
            description="Training of the default tenant",
            schedule=scheduler.ScheduleExpression.cron(week_day="SUN", hour="3", minute="0"),
            target=scheduled.StepFunctionsStartExecution(
                self.machine,
                input=scheduler.ScheduleTargetInput.from_object(
                    {
                        "run_id": f"weekly-{scheduler.ContextAttribute.execution_id}",
                        "tenant": TENANT,
                        "trigger": "schedule",
                    }
                ),
                dead_letter_queue=self.undelivered,
            ),
        )
