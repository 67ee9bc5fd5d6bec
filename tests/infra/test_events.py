"""Events in AWS: the consumer follows the stream in order, and files are what training reads."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pyarrow as pa

from delivery.app import transform
from stacks.delivery import BUFFER, BUFFER_MIB, CALL, PREFIX
from tests.infra.templates import Resource, Templates, as_list, text
from vireo.events.models import COLUMNS, EventRow, Exposure
from vireo.events.parquet import SCHEMA
from vireo.homes.aws import AwsHome
from vireo.homes.local import LocalHome
from vireo.homes.local import delivery as local_delivery
from vireo.homes.local import mapping as local_mapping
from vireo.homes.names import checked_tenant
from vireo.projection import WINDOW
from vireo.training.data.window import EVENTS


def mapping(cloud: Templates) -> dict[str, Any]:
    return cloud.one("AWS::Lambda::EventSourceMapping").properties


def destination(cloud: Templates) -> dict[str, Any]:
    stream = cloud.one("AWS::KinesisFirehose::DeliveryStream").properties
    found: dict[str, Any] = stream["ExtendedS3DestinationConfiguration"]
    return found


def test_the_consumer_follows_the_stream_in_order_and_whole(cloud: Templates) -> None:
    found = mapping(cloud)
    stream = cloud.one("AWS::Kinesis::Stream")
    assert f"GetAtt{stream.id}Arn" in text(found["EventSourceArn"])
    assert text(found["FunctionName"]) == "<TrackingFunction.Arn>"
    assert found["StartingPosition"] == "TRIM_HORIZON"
    # A state must remember more than a batch, and one batch of a shard goes at a time.
    assert found["BatchSize"] == local_mapping.BATCH < WINDOW
    assert found["ParallelizationFactor"] == 1
    assert found["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert found["BisectBatchOnFunctionError"] is False
    assert "FilterCriteria" not in found


def test_a_batch_is_tried_for_days_and_then_put_aside_while_the_stream_has_it(
    cloud: Templates,
) -> None:
    found = mapping(cloud)
    assert found["MaximumRetryAttempts"] == -1
    kept = cloud.one("AWS::Kinesis::Stream").properties["RetentionPeriodHours"]
    assert 86_400 <= found["MaximumRecordAgeInSeconds"] <= (kept - 24) * 3600
    bucket = f"<vireo-{cloud.environment}-data-blobs>"
    assert text(found["DestinationConfig"]["OnFailure"]["Destination"]) == bucket
    role = cloud.one("AWS::IAM::Role", "TrackingRole").properties
    (policy,) = role["Policies"]
    may = {s["Sid"]: s for s in policy["PolicyDocument"]["Statement"]}
    assert (may["KeepGivenUp"]["Action"], text(may["KeepGivenUp"]["Resource"])) == (
        "s3:PutObject",
        f"{bucket}/aws/lambda/*",
    )
    assert text(may["FindGivenUp"]["Resource"]) == bucket
    assert text(may["ReadStream"]["Resource"]) == text(found["EventSourceArn"])


def judged(tenant: str) -> dict[str, Any]:
    """What the function says of a good event of a tenant, which came in on 2023-11-14."""
    event = {"event_id": "e", "user_id": "anna", "video_id": "v", "type": "like"}
    record = {
        "recordId": "1",
        "data": base64.b64encode(json.dumps(event | {"timestamp": 1.7e9}).encode()).decode(),
        "kinesisRecordMetadata": {
            "shardId": "shardId-000000000000",
            "partitionKey": f"{tenant}#anna",
            "sequenceNumber": "1",
            "approximateArrivalTimestamp": 1.7e12,
        },
    }
    (answer,) = transform({"records": [record]}, None)["records"]
    assert answer["result"] == "Ok"
    keys: dict[str, Any] = answer["metadata"]["partitionKeys"]
    return keys


def test_files_lie_where_training_looks_for_them(cloud: Templates) -> None:
    found = destination(cloud)
    assert found["Prefix"] == PREFIX
    keys = judged("elsewhere")
    assert set(re.findall(r"!{partitionKeyFromLambda:(\w+)}", PREFIX)) == set(keys)
    folder = re.sub(r"!{partitionKeyFromLambda:(\w+)}", lambda key: str(keys[key[1]]), PREFIX)
    assert folder == f"elsewhere/{EVENTS}date=2023-11-14/"
    assert found["FileExtension"] == ".parquet"
    tenant, _, kind = found["ErrorOutputPrefix"].partition("/")
    assert checked_tenant(tenant) == "_system"
    assert kind == "undelivered/!{firehose:error-output-type}/"


def test_firehose_asks_the_function_partitions_and_converts(cloud: Templates) -> None:
    found = destination(cloud)
    assert found["DynamicPartitioningConfiguration"]["Enabled"] is True
    (processor,) = found["ProcessingConfiguration"]["Processors"]
    told = {p["ParameterName"]: text(p["ParameterValue"]) for p in processor["Parameters"]}
    assert processor["Type"] == "Lambda"
    assert told["LambdaArn"] == "<DeliveryFunction.Arn>:$LATEST"
    # An answer says a record again, with its keys; Lambda takes 6 MB.
    assert int(told["BufferSizeInMBs"]) == 1
    # With dynamic partitioning, and with conversion, it has to be 64 at least.
    assert found["BufferingHints"] == {"SizeInMBs": BUFFER_MIB, "IntervalInSeconds": 900}
    assert BUFFER_MIB >= 64
    assert found["CompressionFormat"] == "UNCOMPRESSED"
    conversion = found["DataFormatConversionConfiguration"]
    assert conversion["Enabled"] is True
    (serializer,) = conversion["OutputFormatConfiguration"]["Serializer"]
    assert serializer == "ParquetSerDe"
    reader = conversion["InputFormatConfiguration"]["Deserializer"]["OpenXJsonSerDe"]
    assert reader == {"CaseInsensitive": False}, "experiments keep their names"
    log = found["CloudWatchLoggingOptions"]
    assert log["Enabled"] is True
    assert {text(log["LogGroupName"]), text(log["LogStreamName"])} == {
        f"<{r.id}>"
        for r in cloud.resources("AWS::Logs::LogGroup", "AWS::Logs::LogStream", stack="events")
        if r.id.startswith("Files")
    }


def table(cloud: Templates) -> Resource:
    return cloud.one("AWS::Glue::Table")


def test_the_columns_are_those_of_the_model(cloud: Templates) -> None:
    given = table(cloud).properties["TableInput"]
    columns = {c["Name"]: c["Type"] for c in given["StorageDescriptor"]["Columns"]}
    assert list(columns.items()) == list(COLUMNS.items())
    assert list(columns) == SCHEMA.names
    arrow = {"string": pa.string(), "double": pa.float64(), "int": pa.int32()}
    for name, hive in columns.items():
        assert SCHEMA.field(name).type == arrow.get(hive, pa.map_(pa.string(), pa.string()))
    # Names are read as they are, and nothing of a record is left out.
    assert set(EventRow.model_fields) | set(Exposure.model_fields) == set(columns)
    assert all(name == name.lower() for name in columns)
    schema = destination(cloud)["DataFormatConversionConfiguration"]["SchemaConfiguration"]
    assert schema["DatabaseName"] == table(cloud).properties["DatabaseName"]
    assert (
        schema["DatabaseName"]
        == cloud.one("AWS::Glue::Database").properties["DatabaseInput"]["Name"]
    )
    assert text(schema["TableName"]) == f"<{table(cloud).id}>"


def test_queries_find_the_partitions_where_files_lie(cloud: Templates) -> None:
    given = table(cloud).properties["TableInput"]
    assert [key["Name"] for key in given["PartitionKeys"]] == list(judged("default"))
    place = text(given["Parameters"]["storage.location.template"])
    assert place.endswith(re.sub(r"!{partitionKeyFromLambda:(\w+)}", r"${\1}", "/" + PREFIX))
    assert given["Parameters"]["projection.tenant.type"] == "injected"


def test_what_firehose_may_do(cloud: Templates) -> None:
    stream = cloud.one("AWS::KinesisFirehose::DeliveryStream").properties
    (role,) = (r.id for r in cloud.resources("AWS::IAM::Role") if r.id.startswith("FilesRole"))
    for said in (
        stream["KinesisStreamSourceConfiguration"],
        destination(cloud),
    ):
        assert text(said["RoleARN"]) == f"<{role}.Arn>"
    may: dict[str, set[str]] = {}
    for statement in cloud.statements_of(role):
        for resource in as_list(statement["Resource"]):
            may.setdefault(text(resource), set()).update(as_list(statement["Action"]))
    bucket = f"<vireo-{cloud.environment}-data-blobs>"
    files = {"s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"}
    assert may.pop(f"{bucket}/*/events/*") == may.pop(f"{bucket}/_system/undelivered/*") == files
    assert may.pop(bucket) == {
        "s3:GetBucketLocation",
        "s3:ListBucket",
        "s3:ListBucketMultipartUploads",
    }
    assert may.pop("<DeliveryFunction.Arn>:$LATEST") == {
        "lambda:GetFunctionConfiguration",
        "lambda:InvokeFunction",
    }
    source = text(stream["KinesisStreamSourceConfiguration"]["KinesisStreamARN"])
    assert {action.split(":")[0] for action in may.pop(source)} == {"kinesis"}
    (log,) = (name for name, actions in may.items() if actions == {"logs:PutLogEvents"})
    del may[log]
    kinds = {name.rsplit(":", 1)[-1].split("/")[0] for name in may}
    assert kinds == {"catalog", "database", "table"}
    for actions in may.values():
        assert actions == {"glue:GetTable", "glue:GetTableVersion", "glue:GetTableVersions"}


def test_who_deletes_a_tenant_waits_for_files_that_are_still_to_come() -> None:
    assert AwsHome.late >= 1.5 * (BUFFER.to_seconds() + CALL.to_seconds())
    assert LocalHome.late >= 2 * local_delivery.SECONDS
