"""The request path: one function that runs all four stages, behind an alias."""

from __future__ import annotations

from typing import Any

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.checks import accept
from stacks.data import DataStack
from stacks.environments import Environment
from stacks.functions import PythonFunction, layer
from stacks.network import NetworkStack
from stacks.packages import Packages
from vireo.ports import Table


class RecommenderStack(Stack):
    """`lambdas/recommend`, and what it may do."""

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
        self.layers = [
            layer(self, "Core", packages, "core"),
            layer(self, "Serving", packages, "serving"),
        ]
        self.recommend = PythonFunction(
            self,
            "Recommend",
            description="All routes of the recommender",
            package="recommend",
            settings=data.settings.as_env(),
            environment=environment,
            packages=packages,
            network=network,
            layers=self.layers,
        )
        self._permit(data)
        self.alarms: list[cloudwatch.Alarm] = []
        self.live = lambda_.Alias(
            self, "Live", alias_name="live", version=self.recommend.current_version
        )
        if environment.alarms:
            self._shift_by_steps()

    def _permit(self, data: DataStack) -> None:
        may, tables = self.recommend.allow, data.tables
        may("dynamodb", "GetItem", "UpdateItem", on=tables[Table.REGISTRY].table_arn)
        may("dynamodb", "GetItem", "Query", "UpdateItem", on=tables[Table.SETTINGS].table_arn)
        may("dynamodb", "Query", "UpdateItem", on=tables[Table.OVERLAY].table_arn)
        for table in (Table.VIDEOS, Table.VIEWERS):
            may("dynamodb", "GetItem", "UpdateItem", "DeleteItem", on=tables[table].table_arn)
        self.recommend.allow_blobs(data, "GetObject", within=["bundles"])
        # Without this S3 calls a missing object forbidden, and a damaged bundle looks unreachable.
        may("s3", "ListBucket", on=data.blobs_arn)
        may("kinesis", "PutRecords", on=data.stream.stream_arn)
        if data.cache_arns:
            may("elasticache", "Connect", on=data.cache_arns)

    def _shift_by_steps(self) -> None:
        """A new version gets a tenth of the requests first; errors or slowness bring the old back.

        These alarms look at the alias, so at both versions, while requests are being shifted.
        """
        errors = cloudwatch.Alarm(
            self,
            "RecommendErrors",
            alarm_description="Invocations fail. docs/operations.md#recommenderrors",
            metric=self.live.metric_errors(period=Duration.minutes(1), statistic="Sum"),
            threshold=5,
            evaluation_periods=2,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        slow = cloudwatch.Alarm(
            self,
            "RecommendSlow",
            alarm_description="Invocations are slow. docs/operations.md#recommendslow",
            metric=self.live.metric_duration(period=Duration.minutes(1), statistic="p99"),
            threshold=1000,
            evaluation_periods=3,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        self.alarms = [errors, slow]
        group = codedeploy.LambdaDeploymentGroup(
            self,
            "Shift",
            alias=self.live,
            deployment_config=codedeploy.LambdaDeploymentConfig.CANARY_10_PERCENT_5_MINUTES,
            alarms=[errors, slow],
        )
        accept(
            group,
            "IAM4",
            "AWS' own policy for CodeDeploy and Lambda changes with the service.",
            "Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited",
        )
