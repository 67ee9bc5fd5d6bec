"""The request path: one function that runs all four stages, behind an alias."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from aws_cdk import ArnFormat, CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.canary import CANARY, Canary
from stacks.checks import accept
from stacks.data import DataStack
from stacks.environments import Environment
from stacks.functions import ImageFunction, PythonFunction, allow, allow_blobs, layer
from stacks.network import NetworkStack
from stacks.packages import Packages
from vireo.ports import Table

#: The alias that the API calls; `vireo.homes.aws.releases` moves it.
ALIAS = "live"


class RecommenderStack(Stack):
    """`lambdas/recommend`, and its permissions."""

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
            reserved=environment.reserved.recommend,
        )
        self._permit(data)
        self.alarms: list[cloudwatch.Alarm] = []
        self.live = lambda_.Alias(
            self, "Live", alias_name=ALIAS, version=self._first_version(environment)
        )
        self.shift: codedeploy.LambdaDeploymentGroup | None = None
        if environment.alarms:
            namespace = data.settings.metrics_namespace
            canary = Canary(
                self, "Canary", alias=self.live, namespace=namespace, service="recommend"
            )
            self.alarms, self.shift = canary.alarms, canary.group
        #: Settings of the function that releases bundles, see `vireo.settings.Settings`.
        self.release: dict[str, str] = {}
        if environment.snap_start:
            self.release["serving_function"] = self.recommend.function_name
            CfnOutput(self, "ServingFunction", value=self.recommend.function_name)
            if self.shift:
                group = self.shift
                name = f"{group.application.application_name}/{group.deployment_group_name}"
                self.release["serving_group"] = name
                CfnOutput(self, "ServingGroup", value=name)

    def _permit(self, data: DataStack) -> None:
        may, tables = partial(allow, self.recommend), data.tables
        may("dynamodb", "GetItem", "UpdateItem", on=tables[Table.REGISTRY].table_arn)
        may("dynamodb", "GetItem", "Query", "UpdateItem", on=tables[Table.SETTINGS].table_arn)
        may("dynamodb", "GetItem", "Query", "UpdateItem", on=tables[Table.OVERLAY].table_arn)
        for table, more in ((Table.VIDEOS, []), (Table.VIEWERS, ["Query"])):
            actions = ["GetItem", *more, "UpdateItem", "DeleteItem"]
            may("dynamodb", *actions, on=tables[table].table_arn)
        allow_blobs(self.recommend, data, "GetObject", within=["bundles"])
        allow_blobs(self.recommend, data, "GetObject", "DeleteObject", within=["dead-letters"])
        # Without this S3 answers "forbidden" for a missing object, not "no such key".
        may("s3", "ListBucket", on=data.blobs_arn)
        may("kinesis", "PutRecords", on=data.stream.stream_arn)
        if data.cache_arns:
            may("elasticache", "Connect", on=data.cache_arns)

    def permit_release(self, function: ImageFunction) -> None:
        """Allow a function to publish versions of this one, and to shift requests to them."""
        if not self.release:
            return
        may, ours = partial(allow, function), self.recommend.function_arn
        may(
            "lambda",
            "GetAlias",
            "GetFunctionConfiguration",
            "PublishVersion",
            "UpdateFunctionConfiguration",
            *(() if self.shift else ("UpdateAlias",)),
            on=ours,
        )
        export = f"{self.stack_name}-function"  # named, so that the finding has a stable name
        may("lambda", "GetFunctionConfiguration", on=f"{self.export_value(ours, name=export)}:*")
        accept(
            cast(iam.Role, function.role),
            "IAM5",
            "Versions of the one function, which have numbers.",
            f"Resource::{export}:*",
        )
        if self.shift:
            group, revisions = self.shift, ("GetApplicationRevision", "RegisterApplicationRevision")
            may("codedeploy", "CreateDeployment", "GetDeployment", on=group.deployment_group_arn)
            may("codedeploy", "GetDeploymentConfig", on=self._canary_arn())
            may("codedeploy", *revisions, on=group.application.application_arn)

    def _canary_arn(self) -> str:
        return self.format_arn(
            service="codedeploy",
            resource="deploymentconfig",
            resource_name=CANARY.deployment_config_name,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )

    def _first_version(self, environment: Environment) -> lambda_.IVersion:
        """The version of the alias.

        With snapshots it serves only until the first release. Code is then deployed by a release,
        too, because a version that starts from a snapshot must be published with its bundle.
        """
        if not environment.snap_start:
            return self.recommend.current_version
        return lambda_.Version(
            self, "First", lambda_=self.recommend, removal_policy=RemovalPolicy.RETAIN
        )
