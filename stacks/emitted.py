"""The metrics of our own code that are looked at; a test compares them with what it writes."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

#: Services that answer the API, and the versions of their functions, by their last digit: see
#: docs/decisions/0017-versions-by-their-last-digit.md.
ANSWERING = ("recommend", "events")
VERSIONS = {name: tuple(f"{name} {digit}" for digit in range(10)) for name in ANSWERING}
_STAGES = ("candidates", "filtering", "ranking", "ordering")
_CACHE = ("get", "put", "delete", "add")
_ANSWERED = ("version", tuple(value for values in VERSIONS.values() for value in values))
#: Name → its dimension and that one's values.
EMITTED: dict[str, tuple[str, tuple[str, ...]] | None] = {
    "AnswerFailed": _ANSWERED,
    "AnswerDegraded": _ANSWERED,
    "RequestLatency": None,
    "StageLatency": ("stage", _STAGES),
    "StageFailed": ("stage", _STAGES),
    "Degraded": ("part", ("viewer", "campaigns")),
    "OverlayLate": None,
    "BundleAge": None,
    "OverlayFailed": None,
    "BundleRefused": None,
    "BundleBefore": None,
    "ChangeRefused": None,
    "VideoRefused": None,
    "ViewerRefused": None,
    "SettingRefused": None,
    "CountersRefused": None,
    "ExposureLost": None,
    "CacheError": ("operation", _CACHE),
    "CacheSkipped": ("operation", _CACHE),
    "ReleaseWithdrawn": None,
    "TrainingAge": None,
    "TrainingDays": None,
    "TrainingViewers": None,
    "Removed": ("kind", ("events", "runs", "bundles", "versions")),
    "TrainingFailed": ("trigger", ("manual", "deploy", "schedule")),
    "Events": ("fate", ("accepted", "refused", "unavailable")),
    "EventsFollowed": None,
    "EventsRepeated": None,
    "DeadLetters": None,
    "TrackingFailed": None,
    "TrackingLag": None,
}


def emitted(
    namespace: str, name: str, statistic: str, period: Duration, value: str | None = None
) -> cloudwatch.Metric:
    """A metric of our own code; of one value of its dimension, if it has one."""
    dimension = EMITTED[name]
    if (dimension is None) != (value is None):
        raise ValueError(f"{name} is written with {dimension}")
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=None if dimension is None else {dimension[0]: str(value)},
        statistic=statistic,
        period=period,
        label=f"{name} {statistic}" if value is None else f"{name} {value}",
    )


def worst_version(namespace: str, name: str, service: str) -> cloudwatch.IMetric:
    """Of a share of a service's answers, a minute's highest among its versions."""
    minute = Duration.minutes(1)
    found = {
        f"v{digit}": emitted(namespace, name, "Average", minute, value)
        for digit, value in enumerate(VERSIONS[service])
    }
    return cloudwatch.MathExpression(
        expression=f"MAX([{', '.join(found)}])",
        using_metrics=dict(found),
        period=minute,
        label=f"{name}, worst version",
    )
