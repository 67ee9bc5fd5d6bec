"""Settings that an account has once in a region, whatever environments are in it."""

from __future__ import annotations

from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.checks import accept

#: The name of the stack, and what stands for an environment's when it is built.
NAME, CONTEXT = "vireo-account", "account"
#: AWS' own policy for this.
POLICY = "service-role/AmazonAPIGatewayPushToCloudWatchLogs"


class AccountStack(Stack):
    """The role by which API Gateway writes the logs of every API.

    An environment that owned this setting would take it away from the others, or leave them a role
    that is gone. `scripts/deploy.sh` deploys this where the setting is missing.
    """

    def __init__(self, scope: Construct, id: str = NAME, **kwargs: Any) -> None:
        super().__init__(scope, id, **kwargs)
        role = iam.Role(
            self,
            "GatewayLogs",
            assumed_by=iam.ServicePrincipal("apigateway.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(POLICY)],
        )
        accept(
            role,
            "IAM4",
            "The account's role for logs of API Gateway is the one that AWS prescribes.",
            f"Policy::arn:<AWS::Partition>:iam::aws:policy/{POLICY}",
        )
        apigateway.CfnAccount(self, "Gateway", cloud_watch_role_arn=role.role_arn)
