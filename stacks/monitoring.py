"""Monitoring: a dashboard, a budget, and alarms in prod.

A test checks that docs/operations.md has an entry of every alarm's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Duration, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.alarms import Row
from stacks.budget import budget
from stacks.dashboard import dashboard
from stacks.data import DataStack
from stacks.delivery import BUFFER
from stacks.environments import Environment
from stacks.events import EventsStack
from stacks.metrics import FIVE, GIVEN_UP, HOUR, MINUTE, Metrics
from stacks.training import TrainingStack

#: A week between runs, and a day for a run to end.
TRAINED = Duration.days(8)
#: Three weekly runs without an accepted model. Changes of the catalogue are kept for as long as a
#: bundle needs them, but every process that starts has to read them.
RENEWED = Duration.days(21)


class MonitoringStack(Stack):
    """One dashboard per environment; alarms and the budget notify `DataStack.notices`."""

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
        training: TrainingStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        metrics = Metrics(data=data, api=api, recommend=recommend, events=events, training=training)
        dashboard(self, "Dashboard", environment, metrics)
        budget(self, "Budget", environment, data.notices)
        if environment.alarms:
            notify = actions.SnsAction(data.notices)
            rows = _table(metrics, environment)
            for alarm in [*shifting, *(row.alarm(self) for row in rows)]:
                alarm.add_alarm_action(notify)


# A table with one alarm in each row:
# fmt: off
def _table(m: Metrics, environment: Environment) -> list[Row]:
    """The alarms, beside those that take a version back (`stacks.canary`)."""
    quiet = environment.quiet_minutes // 5
    cache = [
        Row("CacheFails", m.uncached(), above=100, periods=3,
            what="The cache answers with errors, or not in time"),
    ]
    weekly = [
        Row("TrainingMissing", m.emitted("TrainingAge", "Maximum", HOUR),
            above=TRAINED.to_seconds(), periods=3, silence=True,
            what="No training has come to a verdict for over eight days, or nobody looks"),
    ]
    return [
        Row("ApiErrors", m.api.metric_server_error(period=FIVE, statistic="Average"),
            above=0.01, periods=2,
            what="More than 1% of the answers are our fault"),
        Row("ApiSlow", m.api_latency("p99", FIVE), above=300, periods=3,
            what="One answer in a hundred takes over 300 ms, network within AWS included"),

        Row("NoRequests", m.emitted("RequestLatency", "SampleCount", FIVE), below=1, periods=quiet,
            what="Nobody gets recommendations"),
        Row("RequestSlow", m.emitted("RequestLatency", "p99", FIVE), above=100, periods=3,
            what="One recommendation in a hundred takes over 100 ms in the function"),
        Row("StageFails", m.sum("StageFailed", FIVE), above=10, periods=2,
            what="A stage fails and something simpler serves in its place"),
        Row("Degraded", m.sum("Degraded", FIVE), above=100, periods=3,
            what="Recommendations are made without the viewer or without campaigns"),
        Row("OverlayFails", m.emitted("OverlayFailed", "Sum", FIVE), above=5, periods=2,
            what="New and removed videos, or the pointer, cannot be read"),
        Row("BundleRefused", m.emitted("BundleRefused", "Sum", FIVE), above=0,
            what="A bundle is damaged or does not fit; the one before serves on"),
        Row("BundleOld", m.emitted("BundleAge", "Maximum", HOUR), above=RENEWED.to_seconds(),
            periods=2,
            what="What serves has not been renewed for three weeks"),
        Row("SettingRefused", m.emitted("SettingRefused", "Sum", FIVE), above=0, periods=3,
            what="A campaign, an experiment or a switch is not valid and was left out"),
        Row("ExposuresLost", m.emitted("ExposureLost", "Sum", FIVE), above=100, periods=3,
            what="Exposures to experiments are not logged"),
        Row("RecommendThrottled", m.recommend.metric_throttles(period=MINUTE, statistic="Sum"),
            above=0, periods=3,
            what="Lambda refuses invocations: what is reserved for the recommender is used up"),
        *(cache if environment.cache else []),

        Row("ReadsThrottled", m.throttled("Read"), above=10, periods=2,
            what="DynamoDB refuses reads: a table's capacity is too small"),
        Row("WritesThrottled", m.throttled("Write"), above=10, periods=2,
            what="DynamoDB refuses writes: a table's capacity is too small"),
        Row("StreamThrottled", m.unwritten(), above=10, periods=2,
            what="Kinesis refuses events"),

        Row("NoEvents", m.emitted("Events", "Sum", FIVE, "accepted"), below=1, periods=quiet,
            what="Nobody tells what viewers do"),
        Row("EventsUnavailable", m.emitted("Events", "Sum", FIVE, "unavailable"),
            above=100, periods=2,
            what="Events were not taken, and have to be sent again"),
        Row("EventsThrottled", m.events.live.metric_throttles(period=MINUTE, statistic="Sum"),
            above=0, periods=3,
            what="Lambda refuses invocations: what is reserved for the intake is used up"),
        Row("DeadLetters", m.emitted("DeadLetters", "Sum", FIVE), above=0,
            what="Records of the stream could not be read or applied"),
        Row("NothingFollowed", m.emitted("EventsFollowed", "Sum", FIVE), below=1, periods=quiet,
            what="No event gets into viewers' records"),
        Row("TrackingFails", m.emitted("TrackingFailed", "Sum", FIVE), above=0, periods=3,
            what="Records have to come again, because the store did not take what they change"),
        Row("TrackingLate", m.lag(), above=60_000, periods=3,
            what="Recommendations do not know what viewers did in the last minute, or longer"),
        Row("EventsGivenUp", m.total([m.mapped(name) for name in GIVEN_UP], FIVE), above=0,
            what="A batch of events was not followed for days, and was put aside"),
        Row("NoFiles", m.delivered("DeliveryToS3.Records", "Sum", BUFFER), below=1,
            periods=2 + quiet // 3,
            what="No event gets into the files that training reads"),
        Row("DeliveryLate", m.delivered("DeliveryToS3.DataFreshness", "Maximum"),
            above=2 * BUFFER.to_seconds(), periods=3,
            what="Events wait far longer than usual for the files that training reads"),
        Row("DeliveryFails", m.total(m.undelivered(), FIVE), above=0,
            what="Events do not get into the files that training reads"),

        Row("TrainingFails", m.machine.metric_failed(period=HOUR, statistic="Sum"), above=0,
            what="A training run failed"),
        Row("TrainingTooLong", m.machine.metric_timed_out(period=HOUR, statistic="Sum"), above=0,
            what="Training ran into a time limit"),
        *(weekly if environment.weekly_training else []),
        Row("Undelivered", m.undeliverable(), above=0,
            what="A schedule could not begin what it should, or nobody was told of a failed run"),
        Row("UpkeepFails", m.training.upkeep.function.metric_errors(period=HOUR, statistic="Sum"),
            above=0,
            what="What runs by the clock failed"),
    ]
# fmt: on
