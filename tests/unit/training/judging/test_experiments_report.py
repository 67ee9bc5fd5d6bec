"""Experiments: what was planted is found, chance is not, and an uneven split is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from scripts import controls
from scripts import experiment as script
from vireo.events.parquet import as_parquet
from vireo.homes.local import LocalHome
from vireo.training.judging.experiments import Trial, outcome

HALVES = {"a": 1.0, "b": 1.0}


def rows(
    rates: dict[str, float], *, users: int = 400, seed: int = 0, share: float = 0.5
) -> list[dict[str, Any]]:
    """Requests of ten videos; viewers differ in how much they click, and in how often they ask."""
    rng = np.random.default_rng(seed)
    made: list[dict[str, Any]] = []
    for u in range(users):
        variant = "a" if rng.uniform() < share else "b"
        taste = rng.lognormal(0, 0.5)
        for q in range(rng.integers(1, 8)):
            request = f"r-{u}-{q}"
            base = {"user_id": f"u{u}", "request_id": request, "timestamp": 1e9 + q}
            made.append(
                {
                    **base,
                    "event_id": f"{request}/exposure",
                    "type": "exposure",
                    "model_version": "m",
                    "experiments": [("other", "x"), ("blend", variant)],
                }
            )
            for place in range(10):
                one = {**base, "video_id": f"v{place}", "event_id": f"{request}-{place}"}
                made.append({**one, "type": "impression"})
                if rng.uniform() < min(0.9, rates[variant] * taste):
                    made.append({**one, "event_id": f"{request}-{place}-c", "type": "click"})
    return made


def test_a_planted_lift_is_found() -> None:
    trial = outcome(rows({"a": 0.08, "b": 0.12}, users=1500), "blend", HALVES)
    control, treated = trial.arms
    assert np.isnan(control.lift)
    assert treated.low > 0.2
    assert not trial.mismatch
    assert control.rate == pytest.approx(0.08 * np.exp(0.125), abs=0.01)


@pytest.mark.parametrize("lift", [0.0, 0.5])
def test_intervals_cover_as_often_as_they_say(lift: float) -> None:
    """19 of 20 intervals hold what was planted, though the events of a viewer are alike."""
    planted = {"a": 0.08, "b": 0.08 * (1 + lift)}
    trials = [outcome(rows(planted, users=150, seed=s), "blend", HALVES) for s in range(80)]
    hold = sum(t.arms[1].low <= lift <= t.arms[1].high for t in trials)
    assert 70 <= hold <= 80
    assert sum(t.mismatch for t in trials) <= 1


def test_an_uneven_split_is_noticed() -> None:
    made = rows({"a": 0.1, "b": 0.1}, users=2000, share=0.42)
    assert outcome(made, "blend", HALVES).mismatch
    assert not outcome(made, "blend", {"a": 0.42, "b": 0.58}).mismatch


def same(ours: Trial, theirs: Trial) -> bool:
    return repr(ours) == repr(theirs)


def test_repeats_order_strangers_and_the_unexposed_change_nothing() -> None:
    made = rows({"a": 0.1, "b": 0.2}, users=80)
    known = outcome(made, "blend", HALVES)
    exposed = made[0]["request_id"]
    noise = [
        {**made[1], "event_id": "x1", "user_id": "stranger", "type": "click"},
        {**made[1], "event_id": "x2", "request_id": None, "type": "click"},
        {**made[1], "event_id": "x3", "request_id": "unknown", "type": "impression"},
        {**made[1], "event_id": "x4", "video_id": "never shown", "type": "click"},
        {**made[1], "event_id": "x5"},
        {**made[0], "event_id": "x6", "request_id": "r-9", "experiments": [("other", "y")]},
    ]
    assert exposed
    mixed = list(
        np.random.default_rng(1).permutation(np.array([*made, *noise, *made[:50]], object))
    )
    assert same(outcome(mixed, "blend", HALVES), known)


def test_a_viewer_of_two_variants_counts_for_none() -> None:
    made = rows({"a": 0.1, "b": 0.2}, users=50)
    first = made[0]
    was = dict(first["experiments"])["blend"]
    other = {"a": "b", "b": "a"}[was]
    again = {
        **first,
        "event_id": "y/exposure",
        "request_id": "y",
        "experiments": [("blend", other)],
    }
    trial = outcome([*made, again], "blend", HALVES)
    assert trial.mixed == 1
    assert sum(arm.viewers for arm in trial.arms) == 49


def test_an_experiment_that_met_nobody() -> None:
    with pytest.raises(ValueError, match="nobody"):
        outcome(rows({"a": 0.1, "b": 0.1}, users=5), "unheard of", HALVES)


def test_the_script_writes_an_experiment_and_reports_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(tmp_path / "state")]
    file = tmp_path / "blend.json"
    file.write_bytes(orjson.dumps({"name": "blend", "variants": [{"name": "a"}, {"name": "b"}]}))
    controls.main(["experiments", "--put", str(file), *state])
    ports = LocalHome(tmp_path / "state").open("default")
    payloads = [
        orjson.dumps(
            row | ({"experiments": dict(row["experiments"])} if "experiments" in row else {})
        )
        for row in rows({"a": 0.1, "b": 0.2}, users=60)
    ]
    ports.blobs.write("events/date=2001-09-09/x.parquet", as_parquet(payloads))
    script.main(["blend", *state])
    said = capsys.readouterr().out
    assert "lift" in said
    assert "as the weights say" in said
    with pytest.raises(SystemExit, match="no experiment"):
        script.main(["other", *state])
