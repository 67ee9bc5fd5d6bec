"""Firehose: writes the stream's events to Parquet files, by tenant and date of arrival."""

from __future__ import annotations

from typing import Any

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.checks import accept
from stacks.data import DataStack
from stacks.environments import Environment
from stacks.functions import log_group
from vireo.events.models import COLUMNS

#: Prefix of the events of a tenant, as `vireo.training.data.collected` expects it.
PREFIX = "!{partitionKeyFromLambda:tenant}/events/date=!{partitionKeyFromLambda:date}/"
#: Prefix of records that could not be transformed or converted, and have no known tenant.
UNDELIVERED = "_system/undelivered"
#: Firehose's minimum with dynamic partitioning or format conversion. Below it the service answers
#: InvalidArgumentException, which aws-cdk-lib's own S3 destination checks as well.
BUFFER_MIB = 64
#: Files are written after this time, or half as long again at the latest. It is the maximum:
#: https://docs.aws.amazon.com/firehose/latest/dev/buffering.html
BUFFER = Duration.minutes(15)
#: Size and time of the function's batches, which with their answers must stay under 6 MB.
CALL_MIB, CALL = 1, Duration.minutes(1)
#: First date of the partitions in queries. Older files can still be read.
BEGINNING = "2024-01-01"


class Delivery(Construct):
    """A delivery stream, the Glue table of the columns that it writes, and its role."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        data: DataStack,
        transform: lambda_.Function,
    ) -> None:
        super().__init__(scope, id)
        self._data = data
        # Firehose calls exactly this ARN, so it is the one that its role may call.
        self._transform = f"{transform.function_arn}:$LATEST"
        self._table = self._events_table(f"vireo_{environment.name}")
        group = log_group(self, "Logs", environment)
        self._log = logs.LogStream(self, "Log", log_group=group)
        self._role = self._may(group)
        self.stream = firehose.CfnDeliveryStream(
            self,
            "Stream",
            delivery_stream_type="KinesisStreamAsSource",
            kinesis_stream_source_configuration={
                "kinesisStreamArn": data.stream.stream_arn,
                "roleArn": self._role.role_arn,
            },
            extended_s3_destination_configuration=self._destination(group),
        )
        self.stream.node.add_dependency(self._role)
        accept(self.stream, "KDF1", "Its source, the Kinesis stream, is encrypted, and so it is.")

    def _events_table(self, database: str) -> glue.CfnTable:
        """The columns of `vireo.events.models`, with the location of the partitions for queries.

        Partitions are computed from the query, not listed: a query names its tenant.
        """
        catalogue = Stack.of(self).account
        made = glue.CfnDatabase(
            self, "Database", catalog_id=catalogue, database_input={"name": database}
        )
        place = f"s3://{self._data.settings.bucket}"
        parquet = "org.apache.hadoop.hive.ql.io.parquet"
        table = glue.CfnTable(
            self,
            "Events",
            catalog_id=catalogue,
            database_name=database,
            table_input={
                "name": "events",
                "tableType": "EXTERNAL_TABLE",
                "partitionKeys": [{"name": key, "type": "string"} for key in ("tenant", "date")],
                "parameters": {
                    "classification": "parquet",
                    "projection.enabled": "true",
                    "projection.tenant.type": "injected",
                    "projection.date.type": "date",
                    "projection.date.format": "yyyy-MM-dd",
                    "projection.date.range": f"{BEGINNING},NOW",
                    "storage.location.template": f"{place}/${{tenant}}/events/date=${{date}}/",
                },
                "storageDescriptor": {
                    "columns": [{"name": name, "type": hive} for name, hive in COLUMNS.items()],
                    "location": f"{place}/",
                    "inputFormat": f"{parquet}.MapredParquetInputFormat",
                    "outputFormat": f"{parquet}.MapredParquetOutputFormat",
                    "serdeInfo": {"serializationLibrary": f"{parquet}.serde.ParquetHiveSerDe"},
                },
            },
        )
        table.node.add_dependency(made)
        return table

    def _destination(self, group: logs.LogGroup) -> dict[str, Any]:
        function = {
            "LambdaArn": self._transform,
            "BufferSizeInMBs": str(CALL_MIB),
            "BufferIntervalInSeconds": str(CALL.to_seconds()),
            "NumberOfRetries": "3",
        }
        return {
            "bucketArn": self._data.blobs_arn,
            "roleArn": self._role.role_arn,
            "prefix": PREFIX,
            "errorOutputPrefix": f"{UNDELIVERED}/!{{firehose:error-output-type}}/",
            "fileExtension": ".parquet",
            "compressionFormat": "UNCOMPRESSED",  # Parquet's own is inside
            "bufferingHints": {
                "sizeInMBs": BUFFER_MIB,
                "intervalInSeconds": BUFFER.to_seconds(),
            },
            "dynamicPartitioningConfiguration": {
                "enabled": True,
                "retryOptions": {"durationInSeconds": 3600},
            },
            "processingConfiguration": {
                "enabled": True,
                "processors": [
                    {
                        "type": "Lambda",
                        "parameters": [
                            {"parameterName": name, "parameterValue": value}
                            for name, value in function.items()
                        ],
                    }
                ],
            },
            "dataFormatConversionConfiguration": {
                "enabled": True,
                # By default names are converted to lower case, including those of experiments.
                "inputFormatConfiguration": {
                    "deserializer": {"openXJsonSerDe": {"caseInsensitive": False}}
                },
                "outputFormatConfiguration": {
                    "serializer": {"parquetSerDe": {"compression": "SNAPPY"}}
                },
                "schemaConfiguration": {
                    "catalogId": Stack.of(self).account,
                    "databaseName": self._table.database_name,
                    "tableName": self._table.ref,
                    "region": Stack.of(self).region,
                    "roleArn": self._role.role_arn,
                    "versionId": "LATEST",
                },
            },
            "cloudWatchLoggingOptions": {
                "enabled": True,
                "logGroupName": group.log_group_name,
                "logStreamName": self._log.log_stream_name,
            },
        }

    def _may(self, group: logs.LogGroup) -> iam.Role:
        """The role: reads the stream and the table, calls the function, writes files and a log."""
        stack, bucket = Stack.of(self), self._data.blobs_arn
        catalogue = [
            stack.format_arn(service="glue", resource="catalog"),
            *(
                stack.format_arn(service="glue", resource=kind, resource_name=name)
                for kind, name in (
                    ("database", self._table.database_name),
                    ("table", f"{self._table.database_name}/{self._table.ref}"),
                )
            ),
        ]
        log = stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{group.log_group_name}:log-stream:{self._log.log_stream_name}",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        reading = ("DescribeStream", "GetRecords", "GetShardIterator", "ListShards")
        listing = ("GetBucketLocation", "ListBucket", "ListBucketMultipartUploads")
        writing = ("AbortMultipartUpload", "GetObject", "PutObject")
        files = [f"{bucket}/*/events/*", f"{bucket}/{UNDELIVERED}/*"]
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("firehose.amazonaws.com"))
        for service, actions, resources in (
            ("kinesis", reading, [self._data.stream.stream_arn]),
            ("glue", ("GetTable", "GetTableVersion", "GetTableVersions"), catalogue),
            ("lambda", ("GetFunctionConfiguration", "InvokeFunction"), [self._transform]),
            ("s3", listing, [bucket]),
            ("s3", writing, files),
            ("logs", ("PutLogEvents",), [log]),
        ):
            names = [f"{service}:{action}" for action in actions]
            role.add_to_policy(iam.PolicyStatement(actions=names, resources=resources))
        export = self._data.blobs_export
        accept(
            role,
            "IAM5",
            "Files are named by a pattern, because their names begin with the tenant.",
            f"Resource::{export}/*/events/*",
            f"Resource::{export}/{UNDELIVERED}/*",
        )
        return role
