"""What people look at, and what wakes them: a dashboard, and alarms in prod.

Every alarm has an entry of its name in docs/operations.md, which a test looks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stacks.data import DataStack
from stacks.delivery import BUFFER
from stacks.environments import Environment
from stacks.events import EventsStack
from stacks.metrics import FIVE, GIVEN_UP, HOUR, MINUTE, Metrics


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
        events: EventsStack,
        machine: sfn.StateMachine,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self._environment = environment
        self._metrics = Metrics(data.settings.metrics_namespace, events)
        self._data = data
        self._api = api
        self._recommend = recommend
        self._events = events
        self._machine = machine
        self._dashboard()
        if environment.alarms:
            self._notify = actions.SnsAction(data.notices)
            for alarm in shifting:
                alarm.add_alarm_action(self._notify)
            self._api_alarms()
            self._recommender_alarms()
            self._data_alarms()
            self._event_alarms()
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
            self._metrics.emitted("RequestLatency", "p99", FIVE),
            threshold=100,
            periods=3,
        )
        self._alarm(
            "StageFails",
            "A stage fails and something simpler serves in its place",
            self._metrics.sum("StageFailed", FIVE),
            threshold=10,
            periods=2,
        )
        self._alarm(
            "Degraded",
            "Recommendations are made without the viewer or without campaigns",
            self._metrics.sum("Degraded", FIVE),
            threshold=100,
            periods=3,
        )
        self._alarm(
            "OverlayFails",
            "New and removed videos, or the pointer, cannot be read",
            self._metrics.emitted("OverlayFailed", "Sum", FIVE),
            threshold=5,
            periods=2,
        )
        self._alarm(
            "BundleRefused",
            "A bundle is damaged or does not fit; the one before serves on",
            self._metrics.emitted("BundleRefused", "Sum", FIVE),
            threshold=0,
        )
        self._alarm(
            "SettingRefused",
            "A campaign, an experiment or a switch is not valid and was left out",
            self._metrics.emitted("SettingRefused", "Sum", FIVE),
            threshold=0,
            periods=3,
        )
        self._alarm(
            "ExposuresLost",
            "Exposures to experiments are not logged",
            self._metrics.emitted("ExposureLost", "Sum", FIVE),
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
                self._metrics.sum("CacheError", FIVE),
                threshold=100,
                periods=3,
            )

    def _data_alarms(self) -> None:
        for kind in ("Read", "Write"):
            self._alarm(
                f"{kind}sThrottled",
                f"DynamoDB refuses {kind.lower()}s: a table's capacity is too small",
                self._metrics.total(
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

    def _event_alarms(self) -> None:
        self._alarm(
            "EventsUnavailable",
            "Events were not taken, and have to be sent again",
            self._metrics.emitted("Events", "Sum", FIVE, "unavailable"),
            threshold=100,
            periods=2,
        )
        self._alarm(
            "DeadLetters",
            "Records of the stream could not be read or applied",
            self._metrics.emitted("DeadLetters", "Sum", FIVE),
            threshold=0,
        )
        self._alarm(
            "TrackingFails",
            "Records have to come again, because the store did not take what they change",
            self._metrics.emitted("TrackingFailed", "Sum", FIVE),
            threshold=10,
            periods=2,
        )
        self._alarm(
            "TrackingLate",
            "Recommendations do not know what viewers did in the last minute, or longer",
            self._metrics.lag(),
            threshold=60_000,
            periods=3,
        )
        self._alarm(
            "EventsGivenUp",
            "A batch of events was not followed for days, and was put aside",
            self._metrics.total([self._metrics.mapped(name) for name in GIVEN_UP], FIVE),
            threshold=0,
        )
        self._alarm(
            "DeliveryLate",
            "Events wait far longer than usual for the files that training reads",
            self._metrics.delivered("DeliveryToS3.DataFreshness", "Maximum"),
            threshold=2 * BUFFER.to_seconds(),
            periods=3,
        )
        self._alarm(
            "DeliveryFails",
            "Events do not get into the files that training reads",
            self._metrics.total(self._metrics.undelivered(), FIVE),
            threshold=0,
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
                [self._metrics.emitted("RequestLatency", s, MINUTE) for s in ("p50", "p99")],
            ),
            _graph("Stages, p99", self._metrics.each("StageLatency", "p99", MINUTE)),
            _graph(
                "Served with less",
                [
                    *self._metrics.each("StageFailed", "Sum", FIVE),
                    *self._metrics.each("Degraded", "Sum", FIVE),
                ],
            ),
        )
        board.add_widgets(
            _graph(
                "Bundle, overlay and settings",
                [
                    self._metrics.emitted(name, "Sum", FIVE)
                    for name in ("OverlayLate", "OverlayFailed", "BundleRefused", "SettingRefused")
                ],
            ),
            _graph(
                "Cache and exposures",
                [
                    self._metrics.sum("CacheError", FIVE),
                    self._metrics.sum("CacheSkipped", FIVE),
                    self._metrics.emitted("ExposureLost", "Sum", FIVE),
                ],
            ),
            _graph(
                "Training",
                [
                    machine.metric_succeeded(period=HOUR),
                    machine.metric_failed(period=HOUR),
                    self._metrics.sum("TrainingFailed", HOUR),
                    self._metrics.emitted("ReleaseWithdrawn", "Sum", HOUR),
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
                "Stream",
                [
                    self._data.stream.metric_incoming_records(period=FIVE, statistic="Sum"),
                    self._data.stream.metric_write_provisioned_throughput_exceeded(
                        period=FIVE, statistic="Sum"
                    ),
                ],
            ),
        )
        intake, tracking = self._events.live, self._events.tracking
        board.add_widgets(
            _graph(
                "Events: invocations",
                [
                    f(period=MINUTE)
                    for function in (intake, tracking)
                    for f in (function.metric_invocations, function.metric_errors)
                ],
            ),
            _graph("Events: taken", self._metrics.each("Events", "Sum", FIVE)),
            _graph(
                "Events: followed",
                [
                    self._metrics.emitted(name, "Sum", FIVE)
                    for name in ("EventsFollowed", "EventsRepeated", "DeadLetters")
                ],
            ),
        )
        board.add_widgets(
            _graph(
                "Tracking: lag, ms",
                [self._metrics.emitted("TrackingLag", s, MINUTE) for s in ("p50", "p99")]
                + [self._metrics.lag()],
            ),
            _graph(
                "Tracking: again or given up",
                [
                    self._metrics.emitted("TrackingFailed", "Sum", FIVE),
                    *(self._metrics.mapped(name) for name in GIVEN_UP),
                ],
            ),
            _graph(
                "Files",
                [
                    self._metrics.delivered("DeliveryToS3.DataFreshness", "Maximum"),
                    self._metrics.delivered("DeliveryToS3.Records", "Sum"),
                    *self._metrics.undelivered(),
                ],
            ),
        )


def _graph(title: str, metrics: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8)
