"""Scheduled upkeep beside training: ages are measured every hour, and old things go every day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from aws_cdk import Aws, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.checks import accept
from stacks.data import DataStack
from stacks.environments import Environment
from stacks.functions import PythonFunction, allow, allow_blobs, layer
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
        versioned: Mapping[str, lambda_.Function],
    ) -> None:
        """Make them; ``versioned`` are the functions whose old versions go, by their stack."""
        super().__init__(scope, id)
        names = ",".join(function.function_name for function in versioned.values())
        without_cache = {"redis_url": None, "redis_identity": None}
        settings = data.settings.model_copy(update={**without_cache, "versioned_functions": names})
        self.function = PythonFunction(
            self,
            "Upkeep",
            description="How old things are, and the end of what is too old",
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
        self._permit(data, versioned)
        every = scheduler.ScheduleExpression
        self._schedule("Ages", every.rate(Duration.hours(1)), {"task": "ages", "tenant": tenant})
        self._schedule("Tidy", every.rate(Duration.days(1)), {"task": "tidy", "tenant": tenant})

    def _permit(self, data: DataStack, versioned: Mapping[str, lambda_.Function]) -> None:
        registry = data.tables[Table.REGISTRY].table_arn
        allow(self.function, "dynamodb", "DeleteItem", "GetItem", "Query", on=registry)
        allow(self.function, "s3", "ListBucket", on=data.blobs_arn)
        allow_blobs(self.function, data, "DeleteObject", within=["bundles", "events", "runs"])
        for stack, function in versioned.items():
            arn = function.function_arn
            listing = ("ListAliases", "ListVersionsByFunction")
            allow(self.function, "lambda", *listing, on=arn)
            # Only versions: without the colon it would be the function itself.
            export = f"{stack}-versions"
            exported = Stack.of(function).export_value(arn, name=export)
            allow(self.function, "lambda", "DeleteFunction", on=f"{exported}:*")
            accept(
                cast(iam.Role, self.function.role),
                "IAM5",
                "Versions of the one function, which have numbers.",
                f"Resource::{export}:*",
            )

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
