"""Metrics in the process, and as lines that CloudWatch reads."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from vireo.homes.aws import AwsHome
from vireo.homes.aws.meter import EmfMeter
from vireo.homes.clock import MovableClock
from vireo.homes.meter import LocalMeter
from vireo.ports import Table
from vireo.settings import Settings


def test_the_local_meter_adds_up(caplog: pytest.LogCaptureFixture) -> None:
    meter = LocalMeter(log=True)
    with caplog.at_level(logging.INFO, "vireo.metrics"):
        meter.count("Hits", route="a")
        meter.count("Hits", 2, route="b", tenant="t")
        meter.observe("Latency", 1.5, "Milliseconds", stage="ranking")
        meter.observe("Latency", 2.5, "Milliseconds", stage="ordering")
    assert meter.total("Hits") == 3
    assert meter.total("Hits", route="b") == 2
    assert meter.total("Misses") == 0
    assert meter.values("Latency") == [1.5, 2.5]
    assert meter.values("Latency", stage="ranking") == [1.5]
    assert caplog.messages[1] == "Hits 2 Count route=b tenant=t"


def test_a_handler_writes_its_metrics_even_when_it_fails(tmp_path: Path) -> None:
    written: list[str] = []
    clock = MovableClock()
    tables = {f"{table}_table": table.value for table in Table}
    settings = Settings(bucket="b", stream="s", scratch=str(tmp_path), **tables)
    home = AwsHome(settings, clock=clock, meter=EmfMeter("Vireo", clock, written.append))

    def function(event: int, context: object) -> float:
        home.open("acme").meter.count("Called")
        return 1 / event

    assert home.handler(function)(2, None) == 0.5
    assert len(written) == 1
    with pytest.raises(ZeroDivisionError):
        home.handler(function)(0, None)
    assert len(written) == 2


def lines(written: list[str]) -> list[dict[str, Any]]:
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in written)
    return [json.loads(line) for line in written]


def test_embedded_metrics() -> None:
    written: list[str] = []
    meter = EmfMeter("Vireo", MovableClock(1_700_000_000), written.append)
    meter.observe("Latency", 1.5, "Milliseconds", stage="ranking")
    meter.observe("Latency", 2, "Milliseconds", stage="ranking")
    meter.count("CacheError", stage="ranking")
    meter.count("Requests")
    assert written == []
    meter.flush()
    meter.flush()
    assert lines(written) == [
        {
            "_aws": {
                "Timestamp": 1_700_000_000_000,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "Vireo",
                        "Dimensions": [["stage"]],
                        "Metrics": [
                            {"Name": "Latency", "Unit": "Milliseconds"},
                            {"Name": "CacheError", "Unit": "Count"},
                        ],
                    }
                ],
            },
            "stage": "ranking",
            "Latency": [1.5, 2.0],
            "CacheError": [1.0],
        },
        {
            "_aws": {
                "Timestamp": 1_700_000_000_000,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "Vireo",
                        "Dimensions": [[]],
                        "Metrics": [{"Name": "Requests", "Unit": "Count"}],
                    }
                ],
            },
            "Requests": [1.0],
        },
    ]


def test_no_line_has_more_values_than_cloudwatch_takes() -> None:
    written: list[str] = []
    clock = MovableClock()
    meter = EmfMeter("Vireo", clock, written.append)
    for n in range(250):
        meter.observe("Latency", n, "Milliseconds")
    for n in range(150):
        meter.count(f"Metric{n}")
    clock.advance(11)
    meter.count("Late")
    values = [v for line in lines(written) for v in line.get("Latency", [])]
    assert values == list(range(250))
    for line in lines(written):
        assert len(line["_aws"]["CloudWatchMetrics"][0]["Metrics"]) <= 100
        assert len(line.get("Latency", [])) <= 100
    assert "Late" in lines(written)[-1]
