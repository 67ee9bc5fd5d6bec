"""Nothing from the future reaches what is fitted, assembled and asked as of a moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.planted import DAY, QUICK, RETRIEVAL, happenings, ring_log
from vireo.training.data import requests as protocols
from vireo.training.data.activity import Activity, with_propensity_weights
from vireo.training.data.event_table import TYPES
from vireo.training.data.log import Log
from vireo.training.data.requests import Requests
from vireo.training.judging import baselines
from vireo.training.judging.served import measure
from vireo.training.models import ranker as ranking
from vireo.training.models import recipe
from vireo.training.models.assembly import Fitted, assemble
from vireo.training.models.examples import Examples, collect
from vireo.training.models.replay import Replay

CUT = 0.7  #: of the events: the moment before which everything is fixed


def another_future(log: Log, activity: Activity, begin: int) -> tuple[Log, Activity]:
    """The same up to position ``begin``; after it other viewers watch other videos at other times.

    Two events in three are left, so that counts differ as well.
    """
    rng = np.random.default_rng(99)
    kept = np.sort(rng.choice(np.arange(begin, len(log)), (len(log) - begin) * 2 // 3, False))
    met = set(zip(log.user[:begin].tolist(), log.video[:begin].tolist(), strict=True))
    user, video = rng.permutation(log.user[kept]), rng.permutation(log.video[kept])
    new = [j for j, pair in enumerate(zip(user.tolist(), video.tolist(), strict=True))]
    new = [j for j in new if (int(user[j]), int(video[j])) not in met]
    time = np.sort(rng.uniform(log.time[begin], log.time[-1] + 30 * DAY, len(new)))

    def joined(past: NDArray[Any], future: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([past[:begin], future.astype(past.dtype)])

    other = replace(
        log,
        user=joined(log.user, user[new]),
        video=joined(log.video, video[new]),
        time=joined(log.time, time),
        device=joined(log.device, rng.integers(0, 3, len(new))),
        weight=joined(log.weight, np.full(len(new), 2.0)),
        place=joined(log.place, rng.integers(0, 9, len(new))),
    )
    happened = Activity(
        user=other.user,
        video=other.video,
        type=joined(activity.type, rng.integers(0, len(TYPES), len(new))),
        time=other.time,
        seconds=joined(activity.seconds, rng.uniform(1, 9, len(new))),
        fraction=joined(activity.fraction, rng.random(len(new))),
        place=joined(activity.place, rng.integers(0, 20, len(new))),
        recommended=joined(activity.recommended, np.ones(len(new), bool)),
        n_videos=log.n_videos,
    )
    return other, happened


@pytest.fixture(scope="module")
def futures() -> tuple[tuple[Log, Activity], tuple[Log, Activity], int]:
    """Two worlds with one past, and the position at which they part."""
    log = ring_log(n_users=80, n_videos=70, events=14, seed=4)
    places = np.random.default_rng(6).integers(-1, 9, len(log))
    log = replace(log, place=places.astype(np.int32))
    begin = int(len(log) * CUT)
    while log.time[begin] == log.time[begin - 1]:
        begin += 1
    activity = happenings(log)
    return (log, activity), another_future(log, activity, begin), begin


Bundled = tuple[Replay, Replay, int]


@pytest.fixture(scope="module")
def replays(futures: tuple[tuple[Log, Activity], tuple[Log, Activity], int]) -> Bundled:
    """In each world: fitted on the past, assembled as of its end, asked over the whole log."""
    *worlds, begin = futures

    def replay(log: Log, activity: Activity) -> Replay:
        past = log.until(begin)
        past = with_propensity_weights(past, activity, recipe.moment_after(past))
        assert past.propensity_weight is not None
        assert np.ptp(past.propensity_weight) > 0.01
        fitted, _ = recipe.fit_retrieval(past, QUICK, seed=1)
        bundle = assemble(
            past,
            activity,
            fitted,
            version="b",
            now=float(np.nextafter(log.time[begin - 1], np.inf)),
            retrieval=RETRIEVAL,
        )
        return Replay(bundle, log, activity)

    one, other = (replay(*world) for world in worlds)
    return one, other, begin


def test_the_worlds_differ_after_the_moment_and_only_then(replays: Bundled) -> None:
    one, other, begin = replays
    for name in ("user", "video", "time"):
        here, there = getattr(one.log, name), getattr(other.log, name)
        assert (here[:begin] == there[:begin]).all()
        assert len(here) != len(there)
    assert not np.array_equal(one.log.video[begin : begin + 50], other.log.video[begin:][:50])


def test_a_bundle_knows_nothing_of_the_future(replays: Bundled) -> None:
    one, other, _ = replays
    assert one.bundle.manifest == other.bundle.manifest
    assert one.bundle.arrays.keys() == other.bundle.arrays.keys()
    for name, array in one.bundle.arrays.items():
        assert array.tobytes() == other.bundle.arrays[name].tobytes(), name
    features = one.bundle.arrays["features"]
    assert np.isfinite(features).any(0).sum() >= 8, "there is something to compare"


def test_the_past_leaks_if_it_is_let_in(replays: Bundled) -> None:
    """The comparison above can fail: one event of the future in the log shows in the arrays."""
    one, _, begin = replays
    arrays = one.bundle.arrays
    fitted = Fitted(
        tower=one.bundle.group("tower"),
        vectors=arrays["vectors"],
        neighbours=one.bundle.group("neighbours"),
        successors=one.bundle.group("successors"),
        opener_score=arrays["opener_score"],
    )
    leaking = assemble(
        one.log.until(begin + 1),
        one.activity,
        fitted,
        version="b",
        now=float(one.log.time[-1]),
        retrieval=RETRIEVAL,
    )
    assert leaking.arrays["features"].tobytes() != arrays["features"].tobytes()


def asked(log: Log, begin: int) -> Requests:
    """Next events of the later half of the past, as `recipe.questions` asks for them."""
    following, _ = protocols.asked_between(log, begin // 2, begin, cap=3, seed=1)
    return following


def test_candidates_and_features_know_nothing_of_the_future(replays: Bundled) -> None:
    one, other, begin = replays
    requests = asked(one.log, begin)
    assert len(requests) > 100
    found, same = (collect(r, asked(r.log, begin)) for r in (one, other))
    assert len(found) > 50
    for name in ("features", "sources", "relevant", "offsets", "bucket", "user"):
        assert getattr(found, name).tobytes() == getattr(same, name).tobytes(), name
    mine, theirs = (measure(r, asked(r.log, begin)) for r in (one, other))
    assert np.array_equal(mine.listed.lists, theirs.listed.lists)
    assert mine.as_dict() == theirs.as_dict(), "what is served is measured alike in both worlds"


def test_a_viewer_who_asks_at_the_moment_is_the_same_in_both_worlds(replays: Bundled) -> None:
    """Requests at the window's start, whose targets lie in the two futures.

    Whom a protocol asks then depends on what they watch later; so those are asked who watch
    something in both.
    """
    one, other, begin = replays
    requests = [
        protocols.asked_between(r.log, begin, len(r.log), cap=1, seed=0, moments=1)[1]
        for r in (one, other)
    ]
    both = np.intersect1d(requests[0].user, requests[1].user)
    assert len(both) > 20
    moment = float(one.log.time[begin - 1]) + 1
    slates = [
        list(
            r.slates(
                replace(
                    q.take(np.flatnonzero(np.isin(q.user, both))), time=np.full(len(both), moment)
                ),
                "ranked",
            )
        )
        for r, q in zip((one, other), requests, strict=True)
    ]
    for (_, mine), (_, theirs) in zip(*slates, strict=True):
        assert mine.rows.tobytes() == theirs.rows.tobytes()
        assert mine.score.tobytes() == theirs.score.tobytes()


@pytest.mark.parametrize("name", list(baselines.GRID))
def test_baselines_know_nothing_of_the_future(replays: Bundled, name: str) -> None:
    one, other, begin = replays

    def lists(replay: Replay) -> NDArray[np.int32]:
        baseline = baselines.GRID[name][0]
        baseline.fit(replay.log.until(begin))
        return baselines.rank(baseline, replay.log, asked(replay.log, begin), 20)

    assert (lists(one) == lists(other)).all()


def test_windows_are_not_reached_by_what_follows_them(
    futures: tuple[tuple[Log, Activity], tuple[Log, Activity], int],
) -> None:
    """The ranker's examples of windows that end before the moment, as `fit_ranker` makes them."""
    *worlds, begin = futures
    seen: list[list[Examples]] = []
    for log, activity in worlds:
        shares = (0.5 * begin / len(log), 0.75 * begin / len(log), (begin + 0.5) / len(log))
        config = replace(QUICK, windows=shares, further_epochs=1)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ranking, "fit", lambda learn, judge, *_, **__: [learn, judge])
            seen.append(cast(list[Examples], recipe.fit_ranker(log, activity, config, seed=3)))
    for one, other in zip(*seen, strict=True):
        assert len(one) > 20
        assert one.features.tobytes() == other.features.tobytes()
        assert one.sources.tobytes() == other.sources.tobytes()
        assert one.relevant.tobytes() == other.relevant.tobytes()
        assert len(np.unique(one.relevant)) > 2, "what places make of them is there to compare"
