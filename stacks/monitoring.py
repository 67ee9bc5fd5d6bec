"""What people look at, and what wakes them: a dashboard, and alarms in prod.

`EMITTED` names the metrics of our own code; a test compares it with what the code writes. Every
alarm has an entry of its name in docs/operations.md, which a test looks for, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Duration, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stacks.data import DataStack
from stacks.environments import Environment

#: Metrics that our code writes and we look at: name → its dimension and that one's values.
EMITTED: dict[str, tuple[str, tuple[str, ...]] | None] = {
    "RequestLatency": None,
    "StageLatency": ("stage", ("candidates", "filtering", "ranking", "ordering")),
    "StageFailed": ("stage", ("candidates", "filtering", "ranking", "ordering")),
    "Degraded": ("part", ("viewer", "campaigns")),
    "OverlayLate": None,
    "OverlayFailed": None,
    "BundleRefused": None,
    "SettingRefused": None,
    "ExposureLost": None,
    "CacheError": ("operation", ("get", "put", "delete", "add")),
    "CacheSkipped": ("operation", ("get", "put", "delete", "add")),
    "ReleaseWithdrawn": None,
    "TrainingFailed": ("trigger", ("manual", "deploy", "schedule")),
    "Events": ("fate", ("accepted", "refused", "unavailable")),
    "EventsFollowed": None,
    "EventsRepeated": None,
    "DeadLetters": None,
    "TrackingFailed": None,
    "TrackingLag": None,
}

MINUTE, FIVE, HOUR = Duration.minutes(1), Duration.minutes(5), Duration.hours(1)


class MonitoringStack(Stack):
    """One dashboard per environment; alarms tell `DataStack.notices`."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        data: DataStack,
        api: apigateway.RestApi,
        recommend: lambda_.Alias,
        shifting: Sequence[cloudwatch.Alarm],
        machine: sfn.StateMachine,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self._environment = environment
        self._namespace = data.settings.metrics_namespace
        self._data = data
        self._api = api
        self._recommend = recommend
        self._machine = machine
        self._dashboard()
        if environment.alarms:
            self._notify = actions.SnsAction(data.notices)
            for alarm in shifting:
                alarm.add_alarm_action(self._notify)
            self._api_alarms()
            self._recommender_alarms()
            self._data_alarms()
            self._training_alarms()

    def _api_alarms(self) -> None:
        self._alarm(
            "ApiErrors",
            "More than 1% of the answers are our fault",
            self._api.metric_server_error(period=FIVE, statistic="Average"),
            threshold=0.01,
            periods=2,
        )
        self._alarm(
            "ApiSlow",
            "One answer in a hundred takes over 300 ms, network within AWS included",
            self._api.metric_latency(period=FIVE, statistic="p99"),
            threshold=300,
            periods=3,
        )

    def _recommender_alarms(self) -> None:
        self._alarm(
            "RequestSlow",
            "One recommendation in a hundred takes over 100 ms in the function",
            self._emitted("RequestLatency", "p99", FIVE),
            threshold=100,
            periods=3,
        )
        self._alarm(
            "StageFails",
            "A stage fails and something simpler serves in its place",
            self._sum("StageFailed", FIVE),
            threshold=10,
            periods=2,
        )
        self._alarm(
            "Degraded",
            "Recommendations are made without the viewer or without campaigns",
            self._sum("Degraded", FIVE),
            threshold=100,
            periods=3,
        )
        self._alarm(
            "OverlayFails",
            "New and removed videos, or the pointer, cannot be read",
            self._emitted("OverlayFailed", "Sum", FIVE),
            threshold=5,
            periods=2,
        )
        self._alarm(
            "BundleRefused",
            "A bundle is damaged or does not fit; the one before serves on",
            self._emitted("BundleRefused", "Sum", FIVE),
            threshold=0,
        )
        self._alarm(
            "SettingRefused",
            "A campaign, an experiment or a switch is not valid and was left out",
            self._emitted("SettingRefused", "Sum", FIVE),
            threshold=0,
            periods=3,
        )
        self._alarm(
            "ExposuresLost",
            "Exposures to experiments are not logged",
            self._emitted("ExposureLost", "Sum", FIVE),
            threshold=100,
            periods=3,
        )
        self._alarm(
            "RecommendThrottled",
            "Lambda refuses invocations: the account's concurrency is used up",
            self._recommend.metric_throttles(period=MINUTE, statistic="Sum"),
            threshold=0,
            periods=3,
        )
        if self._environment.cache:
            self._alarm(
                "CacheFails",
                "The cache answers with errors, or not in time",
                self._sum("CacheError", FIVE),
                threshold=100,
                periods=3,
            )

    def _data_alarms(self) -> None:
        for kind in ("Read", "Write"):
            self._alarm(
                f"{kind}sThrottled",
                f"DynamoDB refuses {kind.lower()}s: a table's capacity is too small",
                self._total(
                    [
                        table.metric(f"{kind}ThrottleEvents", period=FIVE, statistic="Sum")
                        for table in self._data.tables.values()
                    ],
                    FIVE,
                ),
                threshold=10,
                periods=2,
            )
        self._alarm(
            "StreamThrottled",
            "Kinesis refuses events",
            self._data.stream.metric_write_provisioned_throughput_exceeded(
                period=FIVE, statistic="Sum"
            ),
            threshold=10,
            periods=2,
        )

    def _training_alarms(self) -> None:
        self._alarm(
            "TrainingFails",
            "A training run failed",
            self._machine.metric_failed(period=HOUR, statistic="Sum"),
            threshold=0,
        )
        self._alarm(
            "TrainingTooLong",
            "Training ran into a time limit",
            self._machine.metric_timed_out(period=HOUR, statistic="Sum"),
            threshold=0,
        )

    def _alarm(
        self,
        name: str,
        what: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        periods: int = 1,
    ) -> None:
        """Above the threshold for that many periods; what is not measured is well."""
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_description=f"{what}. docs/operations.md#{name.lower()}",
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(self._notify)

    def _dashboard(self) -> None:
        board = cloudwatch.Dashboard(
            self, "Dashboard", dashboard_name=f"vireo-{self._environment.name}"
        )
        api, recommend, machine = self._api, self._recommend, self._machine
        board.add_widgets(
            _graph(
                "API: latency",
                [api.metric_latency(period=MINUTE, statistic=s) for s in ("p50", "p99")],
            ),
            _graph(
                "API: requests and errors",
                [
                    api.metric_count(period=MINUTE, statistic="Sum"),
                    api.metric_client_error(period=MINUTE, statistic="Sum"),
                    api.metric_server_error(period=MINUTE, statistic="Sum"),
                ],
            ),
            _graph(
                "Recommend: invocations",
                [
                    recommend.metric_invocations(period=MINUTE),
                    recommend.metric_errors(period=MINUTE),
                    recommend.metric_throttles(period=MINUTE),
                ],
            ),
        )
        board.add_widgets(
            _graph(
                "Requests",
                [self._emitted("RequestLatency", s, MINUTE) for s in ("p50", "p99")],
            ),
            _graph("Stages, p99", self._each("StageLatency", "p99", MINUTE)),
            _graph(
                "Served with less",
                [*self._each("StageFailed", "Sum", FIVE), *self._each("Degraded", "Sum", FIVE)],
            ),
        )
        board.add_widgets(
            _graph(
                "Bundle, overlay and settings",
                [
                    self._emitted(name, "Sum", FIVE)
                    for name in ("OverlayLate", "OverlayFailed", "BundleRefused", "SettingRefused")
                ],
            ),
            _graph(
                "Cache and exposures",
                [
                    self._sum("CacheError", FIVE),
                    self._sum("CacheSkipped", FIVE),
                    self._emitted("ExposureLost", "Sum", FIVE),
                ],
            ),
            _graph(
                "Training",
                [
                    machine.metric_succeeded(period=HOUR),
                    machine.metric_failed(period=HOUR),
                    self._sum("TrainingFailed", HOUR),
                    self._emitted("ReleaseWithdrawn", "Sum", HOUR),
                ],
            ),
        )
        board.add_widgets(
            *(
                _graph(
                    f"Tables: {kind} units",
                    [
                        table.metric(f"Consumed{kind}CapacityUnits", period=FIVE, statistic="Sum")
                        for table in self._data.tables.values()
                    ],
                )
                for kind in ("Read", "Write")
            ),
            _graph(
                "Events",
                [
                    self._data.stream.metric_incoming_records(period=FIVE, statistic="Sum"),
                    self._data.stream.metric_write_provisioned_throughput_exceeded(
                        period=FIVE, statistic="Sum"
                    ),
                ],
            ),
        )

    def _emitted(
        self, name: str, statistic: str, period: Duration, value: str | None = None
    ) -> cloudwatch.Metric:
        """A metric of our own code; of one value of its dimension, if it has one."""
        dimension = EMITTED[name]
        if (dimension is None) != (value is None):
            raise ValueError(f"{name} is written with {dimension}")
        return cloudwatch.Metric(
            namespace=self._namespace,
            metric_name=name,
            dimensions_map=None if dimension is None else {dimension[0]: str(value)},
            statistic=statistic,
            period=period,
            label=f"{name} {statistic}" if value is None else f"{name} {value}",
        )

    def _each(self, name: str, statistic: str, period: Duration) -> list[cloudwatch.IMetric]:
        dimension = EMITTED[name]
        assert dimension is not None
        return [self._emitted(name, statistic, period, value) for value in dimension[1]]

    def _sum(self, name: str, period: Duration) -> cloudwatch.IMetric:
        return self._total(self._each(name, "Sum", period), period, name)

    def _total(
        self, metrics: Sequence[cloudwatch.IMetric], period: Duration, label: str = "total"
    ) -> cloudwatch.IMetric:
        """The sum of metrics; a missing value counts as none. Labels name the terms."""
        named = {f"{label.lower()}{j}": metric for j, metric in enumerate(metrics)}
        terms = " + ".join(f"FILL({name}, 0)" for name in named)
        return cloudwatch.MathExpression(
            expression=terms, using_metrics=named, period=period, label=label
        )


def _graph(title: str, metrics: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8)
