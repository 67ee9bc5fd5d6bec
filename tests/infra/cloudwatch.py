"""CloudWatch, as far as our alarms need it: metrics come in, and alarms of the templates ring.

No imitation of AWS evaluates alarms. Here they are evaluated as the documentation says: once a
minute, over periods that end at that minute, with more of them looked at than must breach when
values are missing.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.infra.metric_math import Formula, Values

Dimensions = Mapping[str, str]
#: Namespace, name and dimensions: whoever names other dimensions gets another metric.
Metric = tuple[str, str, frozenset[tuple[str, str]]]
MINUTE = 60.0
#: How much later than it happened CloudWatch knows of something.
LATE = 90.0
#: Periods that are looked at beyond those to be judged; two in the documentation's examples.
BEYOND = 2


@dataclass(frozen=True)
class Sample:
    """A value of a metric."""

    at: float
    value: float
    known: float  #: when CloudWatch has it


@dataclass(frozen=True)
class Periods:
    """So many periods of so many seconds, the last of which ends at a moment."""

    end: float
    seconds: float
    count: int

    @property
    def begin(self) -> float:
        """When the first begins."""
        return self.end - self.seconds * self.count

    def number(self, at: float) -> int:
        """Which of them a moment is in, from 0."""
        return int((at - self.begin) // self.seconds)


def _at(sample: Sample) -> float:
    return sample.at


@dataclass
class CloudWatch:
    """The metrics of an account."""

    samples: dict[Metric, list[Sample]] = field(default_factory=dict)

    def put(
        self,
        metric: tuple[str, str],
        value: float,
        at: float,
        dimensions: Dimensions,
        *,
        late: float = LATE,
    ) -> None:
        """A value of exactly that metric, which is a namespace and a name."""
        found = *metric, frozenset(dimensions.items())
        insort(self.samples.setdefault(found, []), Sample(at, value, at + late), key=_at)

    def read(self, line: str, at: float, late: float = LATE) -> None:
        """Take the metrics out of a line of a log, if it has some, as if written at that time.

        Raises ValueError for a line that CloudWatch would not take them from.
        """
        document = json.loads(line) if line.startswith("{") else {}
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", []):
            if not 1 <= len(directive["Metrics"]) <= 100:
                raise ValueError(f"{len(directive['Metrics'])} metrics in a line")
            for names in directive["Dimensions"]:
                dimensions = {name: document[name] for name in names}
                if len(names) > 30 or not all(isinstance(v, str) for v in dimensions.values()):
                    raise ValueError(f"no dimensions: {dimensions}")
                for metric in directive["Metrics"]:
                    name = directive["Namespace"], metric["Name"]
                    for value in _values(document[metric["Name"]]):
                        self.put(name, value, at, dimensions, late=late)

    def statistics(self, metric: Metric, statistic: str, periods: Periods, now: float) -> Values:
        """The statistic of every period that has samples, as far as they are known by now."""
        found: dict[int, list[float]] = {}
        samples = self.samples.get(metric, [])
        first, last = (bisect_left(samples, t, key=_at) for t in (periods.begin, periods.end))
        for sample in samples[first:last]:
            if sample.known <= now:
                found.setdefault(periods.number(sample.at), []).append(sample.value)
        return {number: _statistic(statistic, values) for number, values in found.items()}


def _values(given: Any) -> list[float]:
    values = given if isinstance(given, list) else [given]
    if not 1 <= len(values) <= 100 or not all(type(v) in (int, float) for v in values):
        raise ValueError(f"no values of a metric: {given}")
    return [float(value) for value in values]


def _statistic(name: str, values: list[float]) -> float:
    match name:
        case "Sum":
            return float(sum(values))
        case "Average":
            return float(np.mean(values))
        case "Minimum":
            return min(values)
        case "Maximum":
            return max(values)
        case "SampleCount":
            return float(len(values))
    percentile = re.fullmatch(r"p(\d+(?:\.\d+)?)", name)
    if percentile is None:
        raise ValueError(f"not understood: {name}")
    return float(np.percentile(values, float(percentile[1]), method="inverted_cdf"))


@dataclass(frozen=True)
class Alarm:
    """An alarm of a template, with all references filled in."""

    name: str
    properties: Mapping[str, Any]
    fills_nothing: bool = False  #: see `tests.infra.metric_math.Formula`

    @property
    def period(self) -> float:
        """Seconds of a period; all metrics of an alarm have the same."""
        (period,) = {m["Period"] for m in self._stats()}
        return float(period)

    @property
    def metrics(self) -> list[Metric]:
        """What it looks at."""
        return [_metric(stat["Metric"]) for stat in self._stats()]

    @property
    def window(self) -> float:
        """Seconds of all periods that it may look at."""
        return self.period * (int(self.properties["EvaluationPeriods"]) + BEYOND)

    def state(self, cloud: CloudWatch, now: float, before: str = "INSUFFICIENT_DATA") -> str:
        """The state that it comes to by what is known at a moment."""
        judged = int(self.properties["EvaluationPeriods"])
        needed = int(self.properties.get("DatapointsToAlarm", judged))
        values = self._points(cloud, now, judged + BEYOND)
        breaching = [self._breaches(value) for _, value in sorted(values.items())]
        if len(breaching) >= judged:
            return "ALARM" if sum(breaching[-judged:]) >= needed else "OK"
        if any(namespace == "AWS/DynamoDB" for namespace, _, _ in self.metrics):
            return before  # whatever TreatMissingData says
        missing = judged - len(breaching)
        match self.properties["TreatMissingData"]:
            case "breaching":
                return "ALARM" if sum(breaching) + missing >= needed else "OK"
            case "notBreaching":
                return "ALARM" if sum(breaching) >= needed else "OK"
            case other:
                raise ValueError(f"not understood: {other}")

    def rings(self, cloud: CloudWatch, start: float, end: float) -> float | None:
        """Seconds after the start until it rings, looked at every minute until the end."""
        state = "INSUFFICIENT_DATA"
        for now in np.arange(start, end + 1, MINUTE):
            state = self.state(cloud, float(now), state)
            if state == "ALARM":
                return float(now) - start
        return None

    def _points(self, cloud: CloudWatch, now: float, count: int) -> Values:
        """What is compared with the threshold, by period; the last one ends now."""
        periods = Periods(now, self.period, count)

        def of(stat: Mapping[str, Any]) -> Values:
            metric = _metric(stat["Metric"])
            return cloud.statistics(metric, stat["Stat"], periods, now)

        if "Metrics" not in self.properties:
            (stat,) = self._stats()
            return of(stat)
        parts = self.properties["Metrics"]
        found = {part["Id"]: of(part["MetricStat"]) for part in parts if "MetricStat" in part}
        (wanted,) = (part for part in parts if part.get("ReturnData", True))
        if "MetricStat" in wanted:
            return found[wanted["Id"]]
        return Formula(found, range(count), self.fills_nothing).value(wanted["Expression"])

    def _breaches(self, value: float) -> bool:
        threshold = float(self.properties["Threshold"])
        match self.properties["ComparisonOperator"]:
            case "GreaterThanThreshold":
                return value > threshold
            case "GreaterThanOrEqualToThreshold":
                return value >= threshold
            case "LessThanThreshold":
                return value < threshold
            case other:
                raise ValueError(f"not understood: {other}")

    def _stats(self) -> Iterable[Mapping[str, Any]]:
        """Metric, period and statistic of everything that it looks at."""
        given = self.properties
        if "Metrics" in given:
            return [part["MetricStat"] for part in given["Metrics"] if "MetricStat" in part]
        metric = {
            "Namespace": given["Namespace"],
            "MetricName": given["MetricName"],
            "Dimensions": given.get("Dimensions", []),
        }
        statistic = given.get("Statistic") or given["ExtendedStatistic"]
        return [{"Metric": metric, "Period": given["Period"], "Stat": statistic}]


def _metric(given: Mapping[str, Any]) -> Metric:
    dimensions = {d["Name"]: d["Value"] for d in given.get("Dimensions", [])}
    return given["Namespace"], given["MetricName"], frozenset(dimensions.items())
