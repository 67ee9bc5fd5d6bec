"""The imitation of CloudWatch does what the documentation says of the real one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.infra.account import Account
from tests.infra.cloudwatch import Alarm, CloudWatch
from tests.infra.metric_math import Formula
from tests.infra.templates import Templates
from vireo.homes.aws.meter import EmfMeter
from vireo.homes.clock import MovableClock

M = ("Test", "M")


def alarm(**changes: Any) -> Alarm:
    """Above 10 for three periods of five minutes."""
    properties: dict[str, Any] = {
        "Namespace": "Test",
        "MetricName": "M",
        "Statistic": "Maximum",
        "Period": 300,
        "EvaluationPeriods": 3,
        "Threshold": 10,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    return Alarm("A", properties | changes)


def points(row: str) -> CloudWatch:
    """Five minutes each, the last of which end at 0: within the threshold, missing, beyond it."""
    cloud, marks = CloudWatch(), row.split()
    for n, mark in enumerate(marks):
        if mark != "-":
            at = 300.0 * (n - len(marks)) + 1
            cloud.put(M, 99 if mark == "X" else 0, at, {}, late=0)
    return cloud


#: The documentation's own tables: points, needed, state with what is missing breaching, and not.
TABLE = [
    ("0 - X - X", 3, "OK", "OK"),
    ("0 - - - -", 3, "OK", "OK"),
    ("- - - - -", 3, "ALARM", "OK"),
    ("0 X X - X", 3, "ALARM", "ALARM"),
    ("- - X - -", 3, "ALARM", "OK"),
    ("0 - X - X", 2, "ALARM", "ALARM"),
    ("0 0 X 0 X", 2, "ALARM", "ALARM"),
    ("0 - X - -", 2, "ALARM", "OK"),
    ("- - - - 0", 2, "ALARM", "OK"),
    ("- - - X -", 2, "ALARM", "OK"),
]


@pytest.mark.parametrize(("row", "needed", "breaching", "not_breaching"), TABLE)
def test_missing_values_are_treated_as_the_tables_say(
    row: str, needed: int, breaching: str, not_breaching: str
) -> None:
    for treatment, state in (("breaching", breaching), ("notBreaching", not_breaching)):
        found = alarm(DatapointsToAlarm=needed, TreatMissingData=treatment)
        assert found.state(points(row), 0.0) == state


def test_periods_end_now_and_move_every_minute() -> None:
    cloud = CloudWatch()
    cloud.put(M, 99, 30.0, {}, late=0)
    once = alarm(EvaluationPeriods=1)
    assert [once.state(cloud, t) for t in (0.0, 60.0, 300.0)] == ["OK", "ALARM", "ALARM"]
    assert once.rings(cloud, 0.0, 900.0) == 60.0


def test_what_comes_late_is_not_known_before() -> None:
    cloud = CloudWatch()
    cloud.put(M, 99, 30.0, {}, late=200)
    assert alarm(EvaluationPeriods=1).rings(cloud, 0.0, 900.0) == 240.0


def test_a_filled_period_hides_what_comes_later_than_it_lasts() -> None:
    """The documentation warns of it: with one period of a minute, such an alarm never rings."""
    cloud = CloudWatch()
    for minute in range(30):
        cloud.put(M, 99, 60.0 * minute, {}, late=90)
    stat = {"Metric": {"Namespace": "Test", "MetricName": "M"}, "Period": 60, "Stat": "Sum"}
    filled = [
        {"Id": "m", "MetricStat": stat, "ReturnData": False},
        {"Id": "e", "Expression": "FILL(m, 0)"},
    ]
    stuck = Alarm("A", {**alarm(EvaluationPeriods=1).properties, "Metrics": filled})
    assert stuck.rings(cloud, 0.0, 1800.0) is None
    several = Alarm("A", {**stuck.properties, "EvaluationPeriods": 3, "DatapointsToAlarm": 1})
    assert several.rings(cloud, 0.0, 1800.0) is not None


@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        ({"Statistic": "Sum"}, 6.0),
        ({"Statistic": "Average"}, 2.0),
        ({"Statistic": "Minimum"}, 1.0),
        ({"Statistic": "Maximum"}, 3.0),
        ({"Statistic": "SampleCount"}, 3.0),
        ({"Statistic": None, "ExtendedStatistic": "p50"}, 2.0),
        ({"Statistic": None, "ExtendedStatistic": "p99"}, 3.0),
    ],
)
def test_statistics(statistic: dict[str, Any], value: float) -> None:
    cloud = CloudWatch()
    for number in (1, 2, 3):
        cloud.put(M, number, -1.0, {}, late=0)
    for threshold, state in ((value - 0.5, "ALARM"), (value, "OK")):
        found = alarm(EvaluationPeriods=1, Threshold=threshold, **statistic)
        assert found.state(cloud, 0.0) == state


def test_formulas() -> None:
    metrics = {"a": {0: 1.0, 2: 5.0}, "b": {0: 2.0}, "c": {}}
    formula = Formula(metrics, range(3))
    assert formula.value("SUM([FILL(a, 0), FILL(b, 0), FILL(c, 0)])") == {0: 3.0, 1: 0.0, 2: 5.0}
    assert formula.value("MAX(METRICS())") == {0: 2.0, 2: 5.0}
    assert formula.value("a + b") == {0: 3.0}
    assert formula.value("100 * a / 2") == {0: 50.0, 2: 250.0}
    assert formula.value("FILL(a, 0) + FILL(c, 0)") == {0: 1.0, 1: 0.0, 2: 5.0}
    nothing = Formula(metrics, range(3), fills_nothing=True)
    assert nothing.value("FILL(a, 0) + FILL(c, 0)") == {}
    assert nothing.value("SUM([FILL(a, 0), FILL(c, 0)])") == {0: 1.0, 1: 0.0, 2: 5.0}


@pytest.mark.parametrize("wrong", ["SUM(a)", "FILL(a, REPEAT)", "ANOMALY(a)", "[a, b]", "a if b"])
def test_what_is_not_understood_is_refused(wrong: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        Formula({"a": {0: 1.0}, "b": {0: 1.0}}, range(1)).value(wrong)


def test_a_metric_with_other_dimensions_is_another_metric() -> None:
    cloud = CloudWatch()
    cloud.put(M, 99, -1.0, {"part": "viewer"}, late=0)
    assert alarm(EvaluationPeriods=1).state(cloud, 0.0) == "OK"
    whole = alarm(EvaluationPeriods=1, Dimensions=[{"Name": "part", "Value": "viewer"}])
    assert whole.state(cloud, 0.0) == "ALARM"


def test_dynamodb_keeps_its_state_where_nothing_is_said() -> None:
    found = alarm(Namespace="AWS/DynamoDB")
    assert [found.state(CloudWatch(), 0.0, before) for before in ("OK", "ALARM")] == ["OK", "ALARM"]


def test_what_our_meter_writes_is_read() -> None:
    lines: list[str] = []
    meter = EmfMeter("Test", MovableClock(), lines.append)
    meter.observe("Lag", 20, "Milliseconds")
    meter.observe("Lag", 30, "Milliseconds")
    meter.count("Failed", stage="ranking")
    meter.flush()
    cloud = CloudWatch()
    for line in [*lines, "START RequestId: 1", '{"level": "INFO", "message": "x"}']:
        cloud.read(line, at=0.0)
    found = {metric: [s.value for s in samples] for metric, samples in cloud.samples.items()}
    assert found == {
        ("Test", "Lag", frozenset()): [20.0, 30.0],
        ("Test", "Failed", frozenset({("stage", "ranking")})): [1.0],
    }


@pytest.mark.parametrize(
    "change", [{"M": "1"}, {"M": [1.0] * 101}, {"M": []}, {"d": 7}, {"M": True}]
)
def test_lines_that_cloudwatch_would_not_read_are_refused(change: dict[str, Any]) -> None:
    directive = {"Namespace": "Test", "Dimensions": [["d"]], "Metrics": [{"Name": "M"}]}
    line = {"_aws": {"CloudWatchMetrics": [directive]}, "d": "x", "M": 1.0, **change}
    with pytest.raises(ValueError, match="no "):
        CloudWatch().read(json.dumps(line), at=0.0)


def test_no_alarm_looks_back_further_than_cloudwatch_does(clouds: Mapping[str, Templates]) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"""
    found = Account(clouds["prod"].by_stack).properties("AWS::CloudWatch::Alarm")
    assert found
    for name, properties in found:
        judged = Alarm(name, properties)
        seconds = judged.period * properties["EvaluationPeriods"]
        assert seconds <= (7 * 86_400 if judged.period >= 3600 else 86_400), name
