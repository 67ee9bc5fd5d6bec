"""The metrics that the dashboard and the alarms look at: those of our own code, and AWS' own."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_

from stacks.data import DataStack
from stacks.emitted import EMITTED, emitted
from stacks.events import EventsStack
from stacks.training import TrainingStack

#: Lambda's metrics of batches that it has given up.
GIVEN_UP = ("OnFailureDestinationDeliveredEventCount", "DroppedEventCount")
MINUTE, FIVE, HOUR = Duration.minutes(1), Duration.minutes(5), Duration.hours(1)


class Metrics:
    """The metrics of one environment."""

    def __init__(
        self,
        *,
        data: DataStack,
        api: apigateway.RestApi,
        recommend: lambda_.Alias,
        events: EventsStack,
        training: TrainingStack,
    ) -> None:
        self.data = data
        self.api = api
        self.recommend = recommend
        self.events = events
        self.training = training
        self.machine = training.machine
        self._namespace = data.settings.metrics_namespace

    def emitted(
        self, name: str, statistic: str, period: Duration, value: str | None = None
    ) -> cloudwatch.Metric:
        """See `stacks.emitted.emitted`."""
        return emitted(self._namespace, name, statistic, period, value)

    def each(self, name: str, statistic: str, period: Duration) -> list[cloudwatch.IMetric]:
        """A metric of our own code, for every value of its dimension."""
        dimension = EMITTED[name]
        assert dimension is not None
        return [self.emitted(name, statistic, period, value) for value in dimension[1]]

    def sum(self, name: str, period: Duration) -> cloudwatch.IMetric:
        """A metric of our own code, summed over the values of its dimension."""
        return self.total(self.each(name, "Sum", period), period, name)

    def total(
        self, metrics: Sequence[cloudwatch.IMetric], period: Duration, label: str = "total"
    ) -> cloudwatch.IMetric:
        """The sum of metrics; a missing value counts as 0. Labels name the terms.

        ``FILL`` leaves a metric empty that was never written. ``SUM`` ignores it, while ``+`` would
        make the whole sum empty.
        """
        named = {f"{label.lower()}{j}": metric for j, metric in enumerate(metrics)}
        terms = ", ".join(f"FILL({name}, 0)" for name in named)
        return cloudwatch.MathExpression(
            expression=f"SUM([{terms}])", using_metrics=named, period=period, label=label
        )

    def api_latency(self, statistic: str, period: Duration) -> cloudwatch.IMetric:
        """Latency of answers at the gateway."""
        return self.api.metric_latency(period=period, statistic=statistic)

    def api_answers(self, period: Duration) -> list[cloudwatch.IMetric]:
        """All answers of the gateway, those with client errors, and those with server errors."""
        return [
            self.api.metric_count(period=period, statistic="Sum"),
            self.api.metric_client_error(period=period, statistic="Sum"),
            self.api.metric_server_error(period=period, statistic="Sum"),
        ]

    def throttled(self, kind: str) -> cloudwatch.IMetric:
        """Number of throttled reads or writes (``Read``, ``Write``) of all tables."""
        tables = self.data.tables.values()
        name = f"{kind}ThrottleEvents"
        return self.total([t.metric(name, period=FIVE, statistic="Sum") for t in tables], FIVE)

    def unwritten(self) -> cloudwatch.IMetric:
        """Number of records that Kinesis refused."""
        return self.data.stream.metric_write_provisioned_throughput_exceeded(
            period=FIVE, statistic="Sum"
        )

    def uncached(self) -> cloudwatch.IMetric:
        """Number of calls of the cache that failed, or were skipped after failures."""
        found = [*self.each("CacheError", "Sum", FIVE), *self.each("CacheSkipped", "Sum", FIVE)]
        return self.total(found, FIVE, "uncached")

    def undeliverable(self) -> cloudwatch.IMetric:
        """Number of messages that no schedule, and no rule, could deliver."""
        return self.training.undelivered.metric_approximate_number_of_messages_visible(
            period=FIVE, statistic="Maximum"
        )

    def lag(self) -> cloudwatch.Metric:
        """Age of the records that wait for the consumer, also while it fails."""
        return self.events.tracking.metric("IteratorAge", period=FIVE, statistic="Maximum")

    def mapped(self, name: str) -> cloudwatch.Metric:
        """A metric of the stream's mapping, by Lambda."""
        return cloudwatch.Metric(
            namespace="AWS/Lambda",
            metric_name=name,
            dimensions_map={"EventSourceMappingUUID": self.events.mapping.ref},
            statistic="Sum",
            period=FIVE,
        )

    def delivered(self, name: str, statistic: str, period: Duration = FIVE) -> cloudwatch.Metric:
        """A metric of the delivery stream, by Firehose."""
        return cloudwatch.Metric(
            namespace="AWS/Firehose",
            metric_name=name,
            dimensions_map={"DeliveryStreamName": self.events.delivery.stream.ref},
            statistic=statistic,
            period=period,
        )

    def undelivered(self) -> list[cloudwatch.IMetric]:
        """Metrics of events that miss the files: errors of function, conversion, partitioning."""
        return [
            self.events.transform.metric_errors(period=FIVE, statistic="Sum"),
            self.delivered("FailedConversion.Records", "Sum"),
            self.delivered("PartitionCountExceeded", "Sum"),
        ]
