"""Scheduled upkeep beside training: ages are measured every hour."""

from __future__ import annotations

from typing import Any

from aws_cdk import Aws, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.data import DataStack
from stacks.environments import Environment
from stacks.functions import PythonFunction, allow, layer
from stacks.network import NetworkStack
from stacks.packages import Packages
from vireo.ports import Table


class Upkeep(Construct):
    """`lambdas/upkeep`, and the schedules of its tasks."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        packages: Packages,
        data: DataStack,
        network: NetworkStack | None,
        tenant: str,
        undelivered: sqs.Queue,
    ) -> None:
        super().__init__(scope, id)
        settings = data.settings.model_copy(update={"redis_url": None, "redis_identity": None})
        self.function = PythonFunction(
            self,
            "Upkeep",
            description="How old things are",
            package="upkeep",
            settings=settings.as_env(),
            environment=environment,
            packages=packages,
            network=network,
            layers=[
                layer(self, "Core", packages, "core"),
                layer(self, "Serving", packages, "serving"),
            ],
            timeout_seconds=900,
            snapshots=False,
        )
        self._undelivered = undelivered
        self._role = self._may_begin()
        allow(self.function, "dynamodb", "Query", on=data.tables[Table.REGISTRY].table_arn)
        every = scheduler.ScheduleExpression
        self._schedule("Ages", every.rate(Duration.hours(1)), {"task": "ages", "tenant": tenant})

    def _may_begin(self) -> iam.IRole:
        """The schedules' role; the default one would also allow calls of every version."""
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            ),
        )
        for action, on in (
            ("lambda:InvokeFunction", self.function.function_arn),
            ("sqs:SendMessage", self._undelivered.queue_arn),
        ):
            role.add_to_policy(iam.PolicyStatement(actions=[action], resources=[on]))
        return role.without_policy_updates()

    def _schedule(
        self, id: str, when: scheduler.ScheduleExpression, task: dict[str, Any]
    ) -> scheduler.Schedule:
        return scheduler.Schedule(
            self,
            id,
            schedule=when,
            target=targets.LambdaInvoke(
                self.function,
                role=self._role,
                input=scheduler.ScheduleTargetInput.from_object(task),
                dead_letter_queue=self._undelivered,
                max_event_age=Duration.hours(1),
                retry_attempts=3,
            ),
        )
