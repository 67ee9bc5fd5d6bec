"""Viewers' events: the intake of the API, the stream's consumer, and collection for training."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.canary import Canary
from stacks.checks import accept
from stacks.data import DataStack
from stacks.delivery import Delivery
from stacks.environments import Environment
from stacks.functions import PythonFunction, allow, allow_blobs, layer
from stacks.network import NetworkStack
from stacks.packages import Packages
from vireo.ports import Table

#: Records in one call of the consumer: fewer than `vireo.projection.WINDOW`.
BATCH = 500
#: Time for which a batch is retried. The stream keeps records for a day longer, for inspection.
PATIENCE = Duration.days(6)
#: Prefix of the batches that Lambda gives up, which is fixed:
#: aws/lambda/<mapping>/<shard>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<random>, with the records whole.
#: https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
GIVEN_UP = "aws/lambda"


class EventsStack(Stack):
    """`lambdas/events`, `lambdas/tracking` behind the stream, `lambdas/delivery` in Firehose."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        packages: Packages,
        data: DataStack,
        network: NetworkStack | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self._data = data
        # Only the intake uses the cache.
        settings = data.settings.model_copy(update={"redis_url": None, "redis_identity": None})
        function = partial(
            PythonFunction,
            self,
            environment=environment,
            packages=packages,
            layers=[
                layer(self, "Core", packages, "core"),
                layer(self, "Serving", packages, "serving"),
            ],
        )
        self.intake = function(
            "Events",
            description="The route of events",
            package="events",
            settings=data.settings.as_env(),
            network=network,
            reserved=environment.reserved.events,
        )
        self.live = lambda_.Alias(
            self, "Live", alias_name="live", version=self.intake.current_version
        )
        self.alarms: list[cloudwatch.Alarm] = []
        if environment.alarms:
            namespace = data.settings.metrics_namespace
            canary = Canary(self, "Canary", alias=self.live, namespace=namespace, service="events")
            self.alarms = canary.alarms
        self.tracking = function(
            "Tracking",
            description="Viewers and hot counters follow the stream of events",
            package="tracking",
            settings=settings.as_env(),
            network=network,
            timeout_seconds=300,  # waits for a slow store, as a timeout restarts the batch
            snapshots=False,
            reserved=environment.reserved.tracking,
            lambda_itself=self._reads_the_stream(),
        )
        self.transform = function(
            "Delivery",
            description="Which records of the stream are collected, and whose they are",
            package="delivery",
            settings={},  # it calls nothing
            network=None,
            timeout_seconds=60,
            snapshots=False,
        )
        self._permit()
        self.mapping = self._mapping()
        self.delivery = Delivery(
            self, "Files", environment=environment, data=data, transform=self.transform
        )

    def _permit(self) -> None:
        tables = self._data.tables
        allow(self.intake, "dynamodb", "GetItem", on=tables[Table.REGISTRY].table_arn)
        allow(self.intake, "kinesis", "PutRecords", on=self._data.stream.stream_arn)
        if self._data.cache_arns:
            allow(self.intake, "elasticache", "Connect", on=self._data.cache_arns)
        may = partial(allow, self.tracking, "dynamodb")
        may("GetItem", on=tables[Table.REGISTRY].table_arn)
        may("GetItem", "Query", "UpdateItem", on=tables[Table.VIEWERS].table_arn)
        may("GetItem", "UpdateItem", on=tables[Table.OVERLAY].table_arn)
        allow_blobs(self.tracking, self._data, "PutObject", within=["dead-letters"])
        accept(
            cast(iam.Role, self.tracking.role),
            "IAM5",
            "Lambda names what it puts aside by the mapping, the shard and the time.",
            f"Resource::{self._data.blobs_export}/{GIVEN_UP}/*",
        )

    def _reads_the_stream(self) -> dict[str, iam.PolicyStatement]:
        """Permissions that Lambda itself needs for the mapping, in the consumer's role."""
        bucket = self._data.blobs_arn
        reading = ("DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator")
        return {
            "ReadStream": iam.PolicyStatement(
                actions=[f"kinesis:{action}" for action in (*reading, "ListShards")],
                resources=[self._data.stream.stream_arn],
            ),
            "FindGivenUp": iam.PolicyStatement(actions=["s3:ListBucket"], resources=[bucket]),
            "KeepGivenUp": iam.PolicyStatement(
                actions=["s3:PutObject"], resources=[f"{bucket}/{GIVEN_UP}/*"]
            ),
        }

    def _mapping(self) -> lambda_.CfnEventSourceMapping:
        """The mapping: one batch of a shard at a time, in order, retried until it succeeds.

        The function sends records that can never be processed to the dead letters, and reports the
        first record to be redelivered. So a batch keeps failing only if a store is down or our code
        is faulty: then the shard waits, and an alarm is raised. After `PATIENCE` the batch is
        stored in the bucket.
        """
        return lambda_.CfnEventSourceMapping(
            self,
            "Follow",
            function_name=self.tracking.function_arn,
            event_source_arn=self._data.stream.stream_arn,
            starting_position="TRIM_HORIZON",
            batch_size=BATCH,
            parallelization_factor=1,
            bisect_batch_on_function_error=False,
            function_response_types=["ReportBatchItemFailures"],
            maximum_retry_attempts=-1,  # until they are too old
            maximum_record_age_in_seconds=PATIENCE.to_seconds(),
            destination_config={"onFailure": {"destination": self._data.blobs_arn}},
            metrics_config={"metrics": ["EventCount"]},
        )
