"""A private network for functions and the cache: endpoints of AWS' services, and one way out."""

from __future__ import annotations

from typing import Any

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

CACHE_PORT = 6379


class NetworkStack(Stack):
    """Two zones, with functions in private subnets; S3, DynamoDB and Kinesis by endpoints.

    Anything else, such as a video platform's API, is reached through one NAT gateway.
    """

    def __init__(self, scope: Construct, id: str, **kwargs: Any) -> None:
        super().__init__(scope, id, **kwargs)
        self.vpc = ec2.Vpc(
            self,
            "Network",
            max_azs=2,
            nat_gateways=1,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="public",
                    subnet_type=ec2.SubnetType.PUBLIC,
                    map_public_ip_on_launch=False,
                    cidr_mask=24,
                ),
                ec2.SubnetConfiguration(
                    name="functions",
                    subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS,
                    cidr_mask=20,  # Lambda takes an address per subnet and security group
                ),
                ec2.SubnetConfiguration(
                    name="cache", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24
                ),
            ],
        )
        for name, service in (
            ("S3", ec2.GatewayVpcEndpointAwsService.S3),
            ("DynamoDB", ec2.GatewayVpcEndpointAwsService.DYNAMODB),
        ):
            endpoint = self.vpc.add_gateway_endpoint(name, service=service)
            endpoint.add_to_policy(self._within_the_account(name.lower()))
        self._flow_logs()
        self.functions = ec2.SecurityGroup(
            self,
            "Functions",
            vpc=self.vpc,
            description="Functions: HTTPS to anywhere, the cache, and nothing comes in",
            allow_all_outbound=False,
        )
        self.functions.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "HTTPS")
        self.cache = ec2.SecurityGroup(
            self,
            "Cache",
            vpc=self.vpc,
            description="The cache: functions only",
            allow_all_outbound=False,
        )
        self.functions.connections.allow_to(self.cache, ec2.Port.tcp(CACHE_PORT), "cache")
        self._kinesis_endpoint()

    def _flow_logs(self) -> None:
        group = logs.LogGroup(
            self,
            "Flows",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(
            self, "FlowsRole", assumed_by=iam.ServicePrincipal("vpc-flow-logs.amazonaws.com")
        )
        self.vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(group, role),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )

    def _kinesis_endpoint(self) -> None:
        access = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description="Interface endpoints: functions only",
            allow_all_outbound=False,
        )
        access.connections.allow_from(self.functions, ec2.Port.tcp(443), "functions")
        endpoint = self.vpc.add_interface_endpoint(
            "Kinesis",
            service=ec2.InterfaceVpcEndpointAwsService.KINESIS_STREAMS,
            subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            security_groups=[access],
            open=False,
        )
        endpoint.add_to_policy(self._within_the_account("kinesis"))

    def _within_the_account(self, service: str) -> iam.PolicyStatement:
        """The policy of an endpoint: nobody else's credentials, and nobody else's data.

        What a function may do is said by its role. Without this, a stolen key of another account
        would do to carry data out through our endpoint, into a bucket of that account.
        """
        return iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=[f"{service}:*"],
            resources=["*"],
            conditions={
                "StringEquals": {
                    "aws:PrincipalAccount": self.account,
                    "aws:ResourceAccount": self.account,
                }
            },
        )
