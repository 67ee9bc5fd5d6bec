"""Resources that outlive functions: tables, blobs, the event stream, the cache, notices."""

from __future__ import annotations

from typing import Any

from aws_cdk import ArnFormat, CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.checks import accept
from stacks.environments import Cache, Environment
from stacks.network import CACHE_PORT, NetworkStack
from vireo.ports import Table
from vireo.settings import Settings

#: Services that publish notices themselves.
NOTIFYING = ("cloudwatch", "budgets")


class DataStack(Stack):
    """The stack of all data. Whatever must not be lost is kept when the stack is deleted."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        network: NetworkStack | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self._environment = environment
        self.tables = {table: self._table(table) for table in Table}
        self.bucket = self._bucket()
        #: The export of the bucket's ARN has a fixed name, so that policies are readable.
        self.blobs_export = f"{self.stack_name}-blobs"
        self.blobs_arn = self.export_value(self.bucket.bucket_arn, name=self.blobs_export)
        self.stream = kinesis.Stream(
            self,
            "Events",
            shard_count=environment.shards,
            stream_mode=kinesis.StreamMode.PROVISIONED
            if environment.shards
            else kinesis.StreamMode.ON_DEMAND,
            encryption=kinesis.StreamEncryption.MANAGED,
            retention_period=Duration.days(7),
        )
        self.notices = self._notices()
        self.cache_arns: list[str] = []
        self.settings = Settings(
            environment=environment.name,
            metrics_namespace=f"Vireo/{environment.name}",
            bucket=self.bucket.bucket_name,
            stream=self.stream.stream_name,
            **{f"{table}_table": made.table_name for table, made in self.tables.items()},
        )
        if environment.cache is not None:
            if network is None:
                raise ValueError("a cache needs a network")
            self._cache(environment.cache, network)
        CfnOutput(self, "BucketName", value=self.bucket.bucket_name)
        CfnOutput(self, "StreamName", value=self.stream.stream_name)
        for table, made in self.tables.items():
            CfnOutput(self, f"{_id(table)}TableName", value=made.table_name)
        CfnOutput(self, "NoticesArn", value=self.notices.topic_arn)

    def _table(self, table: Table) -> dynamodb.Table:
        """A table with the key and expiry of `vireo.homes.aws.records`."""
        capacity = self._environment.capacity
        made = dynamodb.Table(
            self,
            _id(table),
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PROVISIONED
            if capacity
            else dynamodb.BillingMode.PAY_PER_REQUEST,
            read_capacity=capacity.least if capacity else None,
            write_capacity=capacity.least if capacity else None,
            time_to_live_attribute="expires",
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            encryption=dynamodb.TableEncryption.AWS_MANAGED,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=self._environment.protected,
            removal_policy=RemovalPolicy.RETAIN,
        )
        if capacity:
            for scaling in (
                made.auto_scale_read_capacity(
                    min_capacity=capacity.least, max_capacity=capacity.most
                ),
                made.auto_scale_write_capacity(
                    min_capacity=capacity.least, max_capacity=capacity.most
                ),
            ):
                scaling.scale_on_utilization(target_utilization_percent=70)
        return made

    def _bucket(self) -> s3.Bucket:
        logs = s3.Bucket(
            self,
            "AccessLogs",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=Duration.days(self._environment.log_days),
                    noncurrent_version_expiration=Duration.days(1),
                )
            ],
            removal_policy=RemovalPolicy.RETAIN,
        )
        bucket = s3.Bucket(
            self,
            "Blobs",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            server_access_logs_bucket=logs,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="unfinished uploads",
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                ),
                s3.LifecycleRule(
                    id="overwritten and deleted",
                    noncurrent_version_expiration=Duration.days(30),
                    expired_object_delete_marker=True,
                ),
                # What AWS puts aside is looked at within days, or never. Erasures do not reach it.
                *(
                    s3.LifecycleRule(
                        id=f"put aside below {prefix}",
                        prefix=prefix,
                        expiration=Duration.days(90),
                    )
                    for prefix in ("aws/lambda/", "_system/undelivered/")
                ),
                # Old events, runs and bundles are rarely read; `lambdas/upkeep` removes them, as no
                # rule can name what is below every tenant.
                s3.LifecycleRule(
                    id="seldom read",
                    transitions=[
                        s3.Transition(
                            storage_class=s3.StorageClass.INTELLIGENT_TIERING,
                            transition_after=Duration.days(30),
                        )
                    ],
                ),
            ],
            removal_policy=RemovalPolicy.RETAIN,
        )
        return bucket

    def _notices(self) -> sns.Topic:
        """The topic for alarms, failed runs and the budget, to which people subscribe.

        The key is ours because AWS' own key for SNS cannot be used by alarms. Services may use both
        for this account only; rules, for which keys cannot be so restricted, publish by a role.
        """
        services = [iam.ServicePrincipal(f"{name}.amazonaws.com") for name in NOTIFYING]
        ours = {"StringEquals": {"aws:SourceAccount": self.account}}
        self.notices_key = kms.Key(self, "NoticesKey", enable_key_rotation=True)
        self.notices_key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=services,
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],  # in a key's policy: this key
                conditions=ours,
            )
        )
        topic = sns.Topic(self, "Notices", master_key=self.notices_key, enforce_ssl=True)
        # A topic without a policy accepts alarms of its account; one with a policy must allow them.
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=services,
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions=ours,
            )
        )
        return topic

    def _cache(self, cache: Cache, network: NetworkStack) -> None:
        """ElastiCache that is accessible only with TLS, by functions whose role may sign in.

        There is no password to store or rotate: a token of IAM replaces it. IAM refers to the cache
        and its user by name, so both have fixed names.
        """
        name = f"vireo-{self._environment.name}"
        subnets = elasticache.CfnSubnetGroup(
            self,
            "CacheSubnets",
            description="The cache of Vireo",
            subnet_ids=[subnet.subnet_id for subnet in network.vpc.isolated_subnets],
        )
        user = elasticache.CfnUser(
            self,
            "CacheUser",
            engine="valkey",
            user_id=name,
            user_name=name,
            access_string="on ~* -@all +@connection +@transaction +@read +@write -@dangerous",
            authentication_mode={"Type": "iam"},
        )
        users = elasticache.CfnUserGroup(
            self,
            "CacheUsers",
            engine="valkey",
            user_group_id=name,
            user_ids=[user.ref],
        )
        group = elasticache.CfnReplicationGroup(
            self,
            "Cache",
            replication_group_id=name,
            replication_group_description="What may be forgotten",
            engine="valkey",
            engine_version="8.0",
            cache_node_type=cache.node,
            num_cache_clusters=cache.nodes,
            automatic_failover_enabled=cache.nodes > 1,
            multi_az_enabled=cache.nodes > 1,
            port=CACHE_PORT,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            at_rest_encryption_enabled=True,
            auto_minor_version_upgrade=True,
            cache_subnet_group_name=subnets.ref,
            security_group_ids=[network.cache.security_group_id],
            user_group_ids=[users.ref],
        )
        if cache.nodes == 1:
            accept(group, "AEC4", "What a single node forgets is computed again.")
        accept(group, "AEC6", "Functions sign in with IAM, as a user of the group; no password.")
        self.cache_arns = [
            self.format_arn(
                service="elasticache",
                resource=resource,
                resource_name=name,
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            )
            for resource in ("replicationgroup", "user")
        ]
        host, port = group.attr_primary_end_point_address, group.attr_primary_end_point_port
        self.settings = self.settings.model_copy(
            update={"redis_url": f"rediss://{host}:{port}", "redis_identity": name}
        )


def _id(table: Table) -> str:
    """The logical id of a table. It must not change, or CloudFormation makes a new, empty table."""
    return table.value.title().replace("_", "")
