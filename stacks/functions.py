"""Lambda functions with common settings: ARM64, traces, JSON logs, and least privilege."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from aws_cdk import CfnResource, Duration, RemovalPolicy, Size
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.checks import accept
from stacks.data import DataStack
from stacks.environments import Environment
from stacks.network import NetworkStack
from stacks.packages import Packages

RETENTION = {
    7: logs.RetentionDays.ONE_WEEK,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
}
#: Stops pydantic from reading the metadata of every installed package at every start.
NO_PLUGINS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
#: API Gateway's time limit.
API_SECONDS = 29


def log_group(
    scope: Construct, id: str, environment: Environment, *, name: str | None = None
) -> logs.LogGroup:
    """A log group with the environment's retention, deleted with its stack."""
    return logs.LogGroup(
        scope,
        id,
        retention=RETENTION[environment.log_days],
        removal_policy=RemovalPolicy.DESTROY,
        log_group_name=name,
    )


def allow(function: lambda_.Function, service: str, *actions: str, on: Sequence[str] | str) -> None:
    """Allow a function's code to take actions of a service on resources, given by ARN."""
    function.add_to_role_policy(
        iam.PolicyStatement(
            actions=[f"{service}:{action}" for action in actions],
            resources=[on] if isinstance(on, str) else list(on),
        )
    )


def allow_blobs(
    function: lambda_.Function, data: DataStack, *actions: str, within: Sequence[str]
) -> None:
    """Allow a function to take actions of S3 on the blobs of every tenant in certain folders."""
    allow(function, "s3", *actions, on=[f"{data.blobs_arn}/*/{folder}/*" for folder in within])
    accept(
        cast(iam.Role, function.role),
        "IAM5",
        "Blobs are named by a pattern, because their names begin with the tenant.",
        *(f"Resource::{data.blobs_export}/*/{folder}/*" for folder in within),
    )


class PythonFunction(lambda_.Function):
    """A zip function with layers, on the request path or consuming a stream.

    Its logical id is ``<id>Function``, that of its role ``<id>Role``. With ``snapshots`` its
    published versions start from one, in environments that have them. ``reserved`` are concurrent
    executions that only it has, and no more. ``lambda_itself`` are the permissions that Lambda, not
    our code, needs in the role, by Sid.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        package: str,
        settings: Mapping[str, str],
        environment: Environment,
        packages: Packages,
        network: NetworkStack | None,
        layers: Sequence[lambda_.ILayerVersion],
        timeout_seconds: int = API_SECONDS,
        description: str = "",
        snapshots: bool = True,
        reserved: int | None = None,
        lambda_itself: Mapping[str, iam.PolicyStatement] | None = None,
    ) -> None:
        group = log_group(scope, f"{id}Logs", environment)
        snapped = snapshots and environment.snap_start
        super().__init__(
            scope,
            id,
            description=description,
            code=packages.function(package),
            handler=f"{package}.handler.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            memory_size=environment.memory_mib,
            timeout=Duration.seconds(timeout_seconds),
            layers=list(layers),
            environment={**settings, **NO_PLUGINS},
            role=_role(scope, id, group, network, lambda_itself or {}),
            log_group=group,
            logging_format=lambda_.LoggingFormat.JSON,
            reserved_concurrent_executions=reserved,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if snapped else None,
            # A version outlives its deployment, so that the alias can go back to it.
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.RETAIN),
            **_placed(network),
        )
        _finish(self, id)
        accept(self, "L1", "Python 3.13 is what the packages are built and measured for.")


class ImageFunction(lambda_.DockerImageFunction):
    """A function with heavy libraries, from an image that was built in the account.

    Its logical id is ``<id>Function``, that of its role ``<id>Role``.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        repository: ecr.IRepository,
        tag: str,
        settings: Mapping[str, str],
        environment: Environment,
        network: NetworkStack | None,
        memory_mib: int,
        disk_mib: int,
        description: str = "",
    ) -> None:
        group = log_group(scope, f"{id}Logs", environment)
        super().__init__(
            scope,
            id,
            description=description,
            code=lambda_.DockerImageCode.from_ecr(repository, tag_or_digest=tag),
            architecture=lambda_.Architecture.ARM_64,
            memory_size=memory_mib,
            ephemeral_storage_size=Size.mebibytes(disk_mib),
            timeout=Duration.minutes(15),
            environment=dict(settings),
            role=_role(scope, id, group, network, {}),
            log_group=group,
            logging_format=lambda_.LoggingFormat.JSON,
            **_placed(network),
        )
        _finish(self, id)


def layer(scope: Construct, id: str, packages: Packages, name: str) -> lambda_.LayerVersion:
    """A layer of the stack that uses it.

    A layer shared by another stack could never change: its ARN would be an export in use.
    """
    return lambda_.LayerVersion(
        scope,
        id,
        code=packages.layer(name),
        compatible_architectures=[lambda_.Architecture.ARM_64],
        compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
        removal_policy=RemovalPolicy.RETAIN,  # published versions go on using it
    )


def _role(
    scope: Construct,
    id: str,
    group: logs.LogGroup,
    network: NetworkStack | None,
    more: Mapping[str, iam.PolicyStatement],
) -> iam.Role:
    """The role with Lambda's own permissions, inline; those of our code are added as a policy."""
    statements = [
        iam.PolicyStatement(
            sid="WriteLogs",
            actions=["logs:CreateLogStream", "logs:PutLogEvents"],
            resources=[group.log_group_arn],
        ),
        iam.PolicyStatement(
            sid="WriteTraces",
            actions=["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
            resources=["*"],
        ),
    ]
    if network is not None:
        statements.append(
            iam.PolicyStatement(
                sid="AttachToNetwork",
                actions=[
                    "ec2:CreateNetworkInterface",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSubnets",
                    "ec2:AssignPrivateIpAddresses",
                    "ec2:UnassignPrivateIpAddresses",
                ],
                resources=["*"],
            )
        )
    for sid, statement in more.items():
        statement.sid = sid
        statements.append(statement)
    role = iam.Role(
        scope,
        f"{id}Role",
        assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        inline_policies={"Runtime": iam.PolicyDocument(statements=statements)},
    )
    _named(role, f"{id}Role")
    accept(
        role,
        "IAM5",
        "X-Ray's traces and Lambda's network interfaces have no resources to name.",
        "Resource::*",
    )
    return role


def _placed(network: NetworkStack | None) -> dict[str, Any]:
    if network is None:
        return {}
    return {
        "vpc": network.vpc,
        "vpc_subnets": ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
        "security_groups": [network.functions],
    }


def _finish(function: lambda_.Function, id: str) -> None:
    """Turn on tracing by a property: the construct's option would add to our code's policy."""
    resource = cast(lambda_.CfnFunction, function.node.default_child)
    resource.tracing_config = lambda_.CfnFunction.TracingConfigProperty(mode="Active")
    _named(function, f"{id}Function")


def _named(construct: Construct, logical_id: str) -> None:
    cast(CfnResource, construct.node.default_child).override_logical_id(logical_id)
