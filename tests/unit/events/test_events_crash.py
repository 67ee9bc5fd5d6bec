"""Consumers that are killed at random lose nothing and count nothing twice."""

from __future__ import annotations

from pathlib import Path

from tests.bench.crash import run


def test_twenty_thousand_events_and_five_deaths(tmp_path: Path) -> None:
    outcome = run(tmp_path / "home", events=20_000, kills=5, seed=7)
    assert outcome.good == 20_000
    assert outcome.records > 20_900
    assert outcome.poison > 10
    assert outcome.kills == 5
