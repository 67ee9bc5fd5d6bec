"""What AWS' own services tell CloudWatch: which metrics, and under which sets of dimensions.

Lambda      https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
API Gateway https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
DynamoDB    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
Kinesis     https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-cloudwatch.html
Firehose    https://docs.aws.amazon.com/firehose/latest/dev/monitoring-with-cloudwatch-metrics.html
States      https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
SQS         https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

from __future__ import annotations

from tests.infra.cloudwatch import LATE, CloudWatch, Dimensions

Sets = tuple[tuple[str, ...], ...]
#: Of a function, of its alias or version, and of a version behind an alias.
_FUNCTION: Sets = (
    (),
    ("FunctionName",),
    ("FunctionName", "Resource"),
    ("FunctionName", "Resource", "ExecutedVersion"),
)
_GATEWAY: Sets = (("ApiName",), ("ApiName", "Stage"))
_TABLE: Sets = (("TableName",),)
_MAPPING: Sets = (("EventSourceMappingUUID",),)
_FIREHOSE: Sets = (("DeliveryStreamName",),)
_MACHINE: Sets = (("StateMachineArn",),)
_BY_SERVICE: dict[str, tuple[Sets, tuple[str, ...]]] = {
    "AWS/ApiGateway": (_GATEWAY, ("Count", "4XXError", "5XXError", "Latency")),
    "AWS/DynamoDB": (_TABLE, ("ReadThrottleEvents", "WriteThrottleEvents")),
    "AWS/Kinesis": ((("StreamName",),), ("WriteProvisionedThroughputExceeded",)),
    "AWS/Firehose": (
        _FIREHOSE,
        (
            "DeliveryToS3.DataFreshness",
            "DeliveryToS3.Records",
            "FailedConversion.Records",
            "PartitionCountExceeded",
        ),
    ),
    "AWS/States": (_MACHINE, ("ExecutionsFailed", "ExecutionsTimedOut")),
    "AWS/SQS": ((("QueueName",),), ("ApproximateNumberOfMessagesVisible",)),
}
#: Dimensions by metric.
PUBLISHED: dict[tuple[str, str], Sets] = {
    **{
        ("AWS/Lambda", name): _FUNCTION
        for name in ("Invocations", "Errors", "Throttles", "Duration", "IteratorAge")
    },
    **{
        ("AWS/Lambda", name): _MAPPING
        for name in ("OnFailureDestinationDeliveredEventCount", "DroppedEventCount")
    },
    **{(service, name): sets for service, (sets, names) in _BY_SERVICE.items() for name in names},
}


def publish(
    cloud: CloudWatch,
    metric: tuple[str, str],
    value: float,
    at: float,
    of: Dimensions,
    *,
    late: float = LATE,
) -> None:
    """A service's value, under every set of dimensions that it publishes this metric with.

    Args:
        cloud: where to.
        metric: namespace and name.
        value: what was measured.
        at: when.
        of: every dimension that what was measured has.
        late: how long it takes to be known.
    """
    for names in PUBLISHED[metric]:
        if set(names) <= of.keys():
            cloud.put(metric, value, at, {name: of[name] for name in names}, late=late)
