"""The loop: what a stage did, and what happens when it breaks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.worlds import NOW, bundle, catalogue, viewer
from vireo.homes.clock import MovableClock
from vireo.homes.meter import LocalMeter
from vireo.patience import Patience
from vireo.ports import Unavailable
from vireo.recommender.candidates import Candidates
from vireo.recommender.filtering import RULES, Filtering
from vireo.recommender.ordering import Ordering
from vireo.recommender.pipeline import Outcome, Stage, run
from vireo.recommender.ranking import Ranking
from vireo.recommender.request import Request
from vireo.recommender.slate import Slate
from vireo.recommender.snapshot import Snapshot


@dataclass
class Broken:
    """A stage that fails, and whose substitute may fail too."""

    name: str
    substitute: Stage | None = None

    def __call__(self, request: Request, slate: Slate) -> Slate:
        raise RuntimeError("broken")

    def otherwise(self, request: Request, slate: Slate) -> Slate:
        if self.substitute is None:
            raise RuntimeError("broken again")
        return self.substitute.otherwise(request, slate)


STAGES: list[Stage] = [Candidates(), Filtering(), Ranking(), Ordering()]


@pytest.fixture(scope="module")
def request_() -> Request:
    return Request.of(Snapshot.of(bundle(catalogue(80)), at=NOW), viewer(1, 2, 3), NOW, limit=10)


def outcome(stages: list[Stage], request: Request) -> tuple[Outcome, LocalMeter]:
    meter = LocalMeter()
    return run(stages, request, MovableClock(NOW), meter), meter


def test_every_stage_reports(request_: Request) -> None:
    class Slow(Filtering):
        def __call__(self, request: Request, slate: Slate) -> Slate:
            clock.advance(0.25)
            return super().__call__(request, slate)

    clock = MovableClock(NOW)
    meter = LocalMeter()
    done = run([Candidates(), Slow(), Ranking(), Ordering()], request_, clock, meter)
    assert [lap.stage for lap in done.laps] == ["candidates", "filtering", "ranking", "ordering"]
    assert [lap.milliseconds for lap in done.laps] == [0, 250, 0, 0]
    kept = [lap.kept for lap in done.laps]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == len(done.slate) == 10
    assert not done.degraded
    assert meter.values("StageLatency", stage="filtering") == [250]


def test_removals_are_counted_where_they_happen(request_: Request) -> None:
    everything = Slate.of(
        np.arange(80, dtype=np.int32),
        np.zeros((4, 80), np.float32),
        np.zeros(80, np.uint8),
        np.zeros(80, np.float32),
    )

    class All(Candidates):
        def __call__(self, request: Request, slate: Slate) -> Slate:
            return everything

    done, _ = outcome([All(), Filtering(), Ranking(), Ordering()], request_)
    assert [lap.removed for lap in done.laps] == [{}, {"watched": 3}, {}, {}]


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_a_broken_stage_degrades_the_answer(request_: Request, which: int) -> None:
    name = STAGES[which].name
    stages = [*STAGES]
    stages[which] = Broken(name, STAGES[which])
    done, meter = outcome(stages, request_)
    assert done.degraded == [name]
    assert meter.total("StageFailed", stage=name) == 1
    assert len(done.slate) == 10
    assert done.slate.slots is not None
    seen = set(done.slate.rows.tolist())
    if which != 1:
        assert not seen & set(request_.watched.tolist())


def test_all_stages_may_break(request_: Request) -> None:
    done, _ = outcome([Broken(s.name, s) for s in STAGES], request_)
    assert done.degraded == [s.name for s in STAGES]
    assert len(done.slate) == 10


def test_a_rule_of_safety_that_breaks_lets_nothing_through(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setitem(RULES, "policy", broken)
    done, _ = outcome(STAGES, request_)
    assert len(done.slate) == 0
    assert done.degraded == ["filtering"]


def test_what_was_removed_survives_an_empty_slate(request_: Request) -> None:
    rows = np.array([1], np.int32)
    marked = replace(Slate.empty(), removed={"policy": rows})

    class Marked(Candidates):
        def __call__(self, request: Request, slate: Slate) -> Slate:
            return marked

    done, _ = outcome([Marked(), Broken("filtering")], request_)
    assert done.slate.removed == {"policy": rows}


def test_patience_ends() -> None:
    patience, gate = Patience(workers=2), threading.Event()
    assert patience.call(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        patience.call(lambda: 1 // 0, 5)
    stuck = [patience.start(gate.wait) for _ in range(2)]
    with pytest.raises(Unavailable, match="within"):
        patience.wait(stuck[0], 0.01)
    with pytest.raises(Unavailable, match="not come back"):
        patience.call(lambda: 7, 5)
    gate.set()
    for future in stuck:
        assert patience.wait(future, 5)
    for _ in range(100):  # a worker is free a moment after its future is done
        try:
            assert patience.call(lambda: 8, 5) == 8
            break
        except Unavailable:
            threading.Event().wait(0.01)
    else:
        pytest.fail("no worker came back")
