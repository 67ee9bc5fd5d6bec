"""The dashboard of an environment, with a row for each part."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stacks import firewall
from stacks.environments import Environment
from stacks.metrics import FIVE, GIVEN_UP, HOUR, MINUTE, Metrics


def dashboard(
    scope: Construct, id: str, environment: Environment, metrics: Metrics
) -> cloudwatch.Dashboard:
    """The dashboard of an environment."""
    board = cloudwatch.Dashboard(scope, id, dashboard_name=f"vireo-{environment.name}")
    for row in (_api, _recommender, _bundles, _stores, _events, _files, _training):
        board.add_widgets(*row(metrics))
    if environment.firewall:
        for what in ("CountedRequests", "BlockedRequests"):
            found = firewall.measured(scope, environment, what, FIVE)
            board.add_widgets(_graph(f"Firewall: {what.removesuffix('Requests').lower()}", found))
    return board


def _api(m: Metrics) -> list[cloudwatch.IWidget]:
    return [
        _graph("API: latency", [m.api_latency(s, MINUTE) for s in ("p50", "p99")]),
        _graph("API: requests and errors", m.api_answers(MINUTE)),
        _graph(
            "Recommend: invocations",
            [
                m.recommend.metric_invocations(period=MINUTE),
                m.recommend.metric_errors(period=MINUTE),
                m.recommend.metric_throttles(period=MINUTE),
            ],
        ),
    ]


def _recommender(m: Metrics) -> list[cloudwatch.IWidget]:
    return [
        _graph("Requests", [m.emitted("RequestLatency", s, MINUTE) for s in ("p50", "p99")]),
        _graph(
            "Answers by version: failed, degraded",
            [
                *m.each("AnswerFailed", "Average", MINUTE),
                *m.each("AnswerDegraded", "Average", MINUTE),
            ],
        ),
        _graph("Stages, p99", m.each("StageLatency", "p99", MINUTE)),
        _graph(
            "Served with less",
            [*m.each("StageFailed", "Sum", FIVE), *m.each("Degraded", "Sum", FIVE)],
        ),
    ]


def _bundles(m: Metrics) -> list[cloudwatch.IWidget]:
    polled = ("OverlayLate", "OverlayFailed", "BundleRefused", "BundleBefore")
    unread = (
        "ChangeRefused",
        "CountersRefused",
        "SettingRefused",
        "VideoRefused",
        "ViewerRefused",
    )
    return [
        _graph(
            "Ages, s",
            [m.emitted(name, "Maximum", HOUR) for name in ("BundleAge", "TrainingAge")],
        ),
        _graph("Bundle and overlay", [m.emitted(name, "Sum", FIVE) for name in polled]),
        _graph("Rows that cannot be read", [m.emitted(name, "Sum", FIVE) for name in unread]),
        _graph(
            "Cache and exposures",
            [
                m.sum("CacheError", FIVE),
                m.sum("CacheSkipped", FIVE),
                m.emitted("ExposureLost", "Sum", FIVE),
            ],
        ),
    ]


def _training(m: Metrics) -> list[cloudwatch.IWidget]:
    return [
        _graph(
            "Training",
            [
                m.machine.metric_succeeded(period=HOUR),
                m.machine.metric_failed(period=HOUR),
                m.sum("TrainingFailed", HOUR),
                m.emitted("ReleaseWithdrawn", "Sum", HOUR),
            ],
        ),
        _graph(
            "What training read: days, and % of viewers",
            [m.emitted(name, "Minimum", HOUR) for name in ("TrainingDays", "TrainingViewers")],
        ),
        _graph(
            "By the clock",
            [
                m.training.upkeep.function.metric_invocations(period=HOUR),
                m.training.upkeep.function.metric_errors(period=HOUR),
                m.undeliverable(),
                *m.each("Removed", "Sum", HOUR),
            ],
        ),
    ]


def _stores(m: Metrics) -> list[cloudwatch.IWidget]:
    return [
        *(
            _graph(
                f"Tables: {kind} units",
                [
                    table.metric(f"Consumed{kind}CapacityUnits", period=FIVE, statistic="Sum")
                    for table in m.data.tables.values()
                ],
            )
            for kind in ("Read", "Write")
        ),
        _graph(
            "Stream",
            [m.data.stream.metric_incoming_records(period=FIVE, statistic="Sum"), m.unwritten()],
        ),
    ]


def _events(m: Metrics) -> list[cloudwatch.IWidget]:
    followed = ("EventsFollowed", "EventsRepeated", "DeadLetters")
    return [
        _graph(
            "Events: invocations",
            [
                f(period=MINUTE)
                for function in (m.events.live, m.events.tracking)
                for f in (function.metric_invocations, function.metric_errors)
            ],
        ),
        _graph("Events: taken", m.each("Events", "Sum", FIVE)),
        _graph("Events: followed", [m.emitted(name, "Sum", FIVE) for name in followed]),
    ]


def _files(m: Metrics) -> list[cloudwatch.IWidget]:
    return [
        _graph(
            "Tracking: lag, ms",
            [m.emitted("TrackingLag", s, MINUTE) for s in ("p50", "p99")] + [m.lag()],
        ),
        _graph(
            "Tracking: again or given up",
            [m.emitted("TrackingFailed", "Sum", FIVE), *(m.mapped(name) for name in GIVEN_UP)],
        ),
        _graph(
            "Files",
            [
                m.delivered("DeliveryToS3.DataFreshness", "Maximum"),
                m.delivered("DeliveryToS3.Records", "Sum"),
                *m.undelivered(),
            ],
        ),
    ]


def _graph(title: str, metrics: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8)
