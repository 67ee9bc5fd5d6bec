"""Where the test period begins, and what of it the model in production may be asked."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.planted import DAY, QUICK, RETRIEVAL, happenings, ring_log
from vireo.homes.local import home
from vireo.recommender.contents import ModelBundle
from vireo.recommender.slate import SOURCES
from vireo.recommender.steering import controls as steering
from vireo.recommender.steering.controls import Controls
from vireo.recommender.steering.tuning import Tuning
from vireo.training import steps
from vireo.training.data.log import Log
from vireo.training.data.prepared import Prepared, Report
from vireo.training.judging import evaluation
from vireo.training.judging.evaluation import (
    CUT,
    Challenger,
    cut_of,
    period_begins,
    seen_until,
)
from vireo.training.models import ranker as ranking
from vireo.training.models import recipe
from vireo.training.models.assembly import assemble
from vireo.training.run import Run

LOG = ring_log(n_users=80, n_videos=70, events=14, seed=4)
USUAL = int(len(LOG) * 0.9)
NOWHERE = Report(0, 0, 0, {}, {}, 0, 0, 0.0, 0.0)


@cache
def champion(position: int, *, ahead: float = 0.0) -> ModelBundle:
    """Made of the events before a position; ``ahead``: of one with a clock that is fast, too."""
    past = LOG.until(position)
    fitted, _ = recipe.fit_retrieval(past, QUICK, seed=1)
    return assemble(
        past,
        None,
        fitted,
        version="old",
        now=float(LOG.time[position]),
        retrieval=RETRIEVAL,
        watermark=float(LOG.time[position - 1]),
        config={evaluation.LAST_EVENT: float(LOG.time[position - 1]) + ahead},
    )


def begins(log: Log, cut: float) -> int:
    return period_begins(Run(run_id="r", cut=cut), log)


def test_the_test_period_begins_after_what_production_has_seen() -> None:
    assert cut_of(LOG, None, 0.01) == CUT
    assert cut_of(LOG, champion(USUAL // 2), 0.01) == CUT, "it has seen nothing of the last tenth"
    for position in range(USUAL + 1, len(LOG) - 10, 7):
        seen = LOG.time[position - 1]
        bundle = champion(USUAL + 1)
        bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"watermark": seen}))
        begin = begins(LOG, cut_of(LOG, bundle, 0.001))
        assert LOG.time[begin - 1] <= seen < LOG.time[begin], "no event is seen, and none is lost"


def test_with_too_little_after_it_the_cut_is_the_usual_one() -> None:
    late = champion(len(LOG) - 60)
    begin = begins(LOG, cut_of(LOG, late, 0.001))
    assert begin >= len(LOG) - 60
    share = (len(LOG) - begin) / len(LOG)
    assert cut_of(LOG, late, share - 1e-9) > CUT
    assert cut_of(LOG, late, share + 1e-3) == CUT
    everything = late.manifest.model_copy(update={"watermark": float(LOG.time[-1])})
    assert cut_of(LOG, replace(late, manifest=everything), 0.001) == CUT


def test_an_event_ahead_of_its_time_counts_as_seen() -> None:
    exact, fast = champion(USUAL + 20), champion(USUAL + 20, ahead=3 * DAY)
    assert seen_until(fast) == pytest.approx(seen_until(exact) + 3 * DAY)
    assert cut_of(LOG, fast, 0.001) > cut_of(LOG, exact, 0.001)


def outcome(
    cut: float, bundle: ModelBundle | None, controls: Controls | None = None, **gates: Any
) -> tuple[evaluation.Outcome, dict[str, Any]]:
    run = Run(run_id="new", cut=cut, gates={"least_viewers_in_bucket": 5, **gates})
    learnt = LOG.until(period_begins(run, LOG))
    fitted, towers = recipe.fit_retrieval(learnt, QUICK, seed=1)
    sources = len(SOURCES)
    nothing = ranking.Ranker(
        {},
        np.ones((4, 1 + sources), np.float32),
        np.ones((4, sources), np.float32),
        importance={},
        trees=0,
        model=b"",
    )
    found = evaluation.evaluate(
        run,
        Prepared(LOG, happenings(LOG), NOWHERE),
        Challenger(QUICK, fitted, towers.params, tuple(towers.losses), nothing),
        bundle,
        lambda share, what: None,
        controls=controls,
    )
    return found, orjson.loads(found.document)


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {
        v["gate"].split(":")[0]: v["why"]
        for v in document["verdicts"]
        if "the model in production" in v["gate"]
    }


def test_production_is_asked_only_what_it_has_not_seen() -> None:
    bundle = champion(USUAL + 20)
    cut = cut_of(LOG, bundle, 0.05)
    assert cut > CUT
    found, document = outcome(cut, bundle)
    for protocol, why in verdicts(document).items():
        assert why.startswith("ndcg@10 minus old's is "), why
        assert any(name.startswith("in production") for name in found.metrics[protocol])
    assert found.left_out == ()


def test_production_that_has_seen_the_test_period_is_left_out_and_said() -> None:
    bundle = champion(USUAL + 20)
    assert cut_of(LOG, bundle, 0.1) == CUT
    found, document = outcome(CUT, bundle)
    told = verdicts(document)
    assert set(told) == {"temporal", "successive"}
    for protocol, why in told.items():
        assert why.startswith("left out: old has seen the test period"), why
        assert not any(name.startswith("in production") for name in found.metrics[protocol])
        assert f"{protocol}: not below the model in production: {why}" in found.left_out
    assert not any("production" in reason for reason in found.reasons)


def test_the_served_list_stands_in_figures_report_and_gates() -> None:
    """Under a tuning that shows one video of a category, which costs; by default less is lost."""
    narrow = Controls(Tuning(category_share=0.0, explore_slots=3))
    found, document = outcome(CUT, None, narrow, ordering_ndcg=0.0)
    gates = {v["gate"]: v for v in document["verdicts"]}
    for evaluated in document["evaluations"]:
        protocol = evaluated["protocol"]
        figures, shown = found.metrics["served"][protocol], evaluated["served"]
        ranked, listed = shown["lists"]
        assert (ranked["name"], listed["name"]) == (evaluation.OURS, evaluation.SERVED)
        assert figures["explored"] == round(listed["explored"], 4) == 0.15
        assert listed["ndcg@10"] < ranked["ndcg@10"]
        assert found.metrics[protocol][evaluation.SERVED]["hit@20"] == figures["hit@20"]
        cost = figures["costs"]["all: ndcg@10"]
        gate = gates[f"{protocol}: ordering keeps ndcg@10"]
        assert round(gate["value"], 4) == cost["mean"] < 0
        assert gate["passed"] == (cost["high"] >= 0)
        assert "differs from the default in category_share, explore_slots" in gate["why"]
        names = [s["name"] for s in evaluated["systems"]]
        assert evaluated["strongest"] in names
        versus = {d["reference"] for d in evaluated["differences"]}
        assert versus == {"Popularity", "EASE", evaluated["strongest"]}
    assert not gates["successive: ordering keeps ndcg@10"]["passed"]
    assert "The tuning in force differs from" in found.html
    usual, told = outcome(CUT, None)
    here, there = (m["served"]["successive"]["costs"] for m in (usual.metrics, found.metrics))
    assert here["variety: ndcg@10"]["mean"] > there["variety: ndcg@10"]["mean"]
    assert "differs from the default" not in told["verdicts"][-1]["why"]


def test_the_step_measures_under_the_controls_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = home(tmp_path).open("default")
    steering.put(ports.records, "tuning", {"explore_slots": 2})
    given: list[Controls] = []

    def evaluate(*_: Any, controls: Controls) -> evaluation.Outcome:
        given.append(controls)
        return evaluation.Outcome(True, (), (), {}, "", b"")

    monkeypatch.setattr(steps, "_prepared", lambda run, ports: None)
    monkeypatch.setattr(evaluation.Challenger, "load", lambda run, blobs, config: None)
    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    steps.evaluate(Run(run_id="r"), ports, lambda share, what: None)
    assert [c.tuning for c in given] == [Tuning(explore_slots=2)]
