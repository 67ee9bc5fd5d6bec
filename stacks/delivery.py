"""Firehose: what is on the stream becomes Parquet files, by tenant and date of arrival."""

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

#: Where the events of a tenant lie, as `vireo.training.data.collected` looks for them.
PREFIX = "!{partitionKeyFromLambda:tenant}/events/date=!{partitionKeyFromLambda:date}/"
#: What could not be transformed or converted. Whose it is, nobody knows then.
UNDELIVERED = "_system/undelivered"
#: Firehose takes no less where it partitions by what a function says, or converts formats. Its
#: service answers InvalidArgumentException, which aws-cdk-lib's own S3 destination checks as well.
BUFFER_MIB = 64
#: Files are written after this long, and half as long again at the latest. No more can be asked.
#: https://docs.aws.amazon.com/firehose/latest/dev/buffering.html
BUFFER = Duration.minutes(15)
#: Of what the function gets at once, which with its answer has to stay under 6 MB.
CALL_MIB, CALL = 1, Duration.minutes(1)
#: The first date that a query is told of. Files of an older one can still be read.
BEGINNING = "2024-01-01"


class Delivery(Construct):
    """A delivery stream, the Glue table that says which columns it writes, and its role."""

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
        # Firehose calls what it is told, so it is told what its role may call.
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
        """The columns of `vireo.events.models`, and for queries where the partitions are.

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
                # By default it turns names into lower case: those of experiments, too.
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
        """Read the stream and the table's columns, ask the function, write files and a log."""
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
