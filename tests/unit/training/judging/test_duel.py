"""What production gains by having been the one that chose decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import oracles_evaluation as oracle
from vireo.training.data.activity import Activity
from vireo.training.data.event_table import TYPES
from vireo.training.data.metrics import Lists, per_request
from vireo.training.data.requests import Requests, temporal
from vireo.training.judging.duel import LEAST, Duel, duel
from vireo.training.judging.gates import (
    Champion,
    Contest,
    Evidence,
    Thresholds,
    Verdict,
    judge,
)

VIEWERS, VIDEOS, SHOWN = 300, 400, 10
BEGIN = 1_000.0


@dataclass(frozen=True)
class World:
    """Viewers with tastes, asked at `BEGIN`; what they watch later is what they were shown, too."""

    taste: NDArray[np.float64]  #: [viewers, videos]
    production: Lists
    requests: Requests
    activity: Activity


def model(taste: NDArray[np.float64], noise: float, seed: int) -> Lists:
    """The hundred best by what a model that errs so much believes of everybody's taste."""
    believed = taste + np.random.default_rng(seed).normal(0, noise, taste.shape)
    return np.argsort(-believed, axis=1)[:, :100].astype(np.int32)


def world(noise: float) -> World:
    """Production shows its best; some of it is watched, whatever the taste."""
    rng = np.random.default_rng(1)
    taste = rng.normal(0, 1, (VIEWERS, VIDEOS))
    production = model(taste, noise, seed=2)
    shown = production[:, :SHOWN]
    users, videos, recommended = [], [], []
    for user in range(VIEWERS):
        followed = shown[user][rng.random(SHOWN) < 0.5].tolist()
        others = np.setdiff1d(np.arange(VIDEOS), followed)
        pull = np.exp(2 * taste[user, others])
        found = rng.choice(others, 5, replace=False, p=pull / pull.sum()).tolist()
        users += [user] * (len(followed) + len(found))
        videos += followed + found
        recommended += [True] * len(followed) + [False] * len(found)
    everybody = np.repeat(np.arange(VIEWERS), SHOWN)
    seen = (np.r_[users, everybody], np.r_[videos, shown.ravel()])
    activity = Activity(
        user=seen[0].astype(np.int32),
        video=seen[1].astype(np.int32),
        type=np.r_[[TYPES.index("watch")] * len(users), [0] * len(everybody)].astype(np.int8),
        time=np.full(len(seen[0]), BEGIN),
        seconds=np.full(len(seen[0]), np.nan, np.float32),
        fraction=np.full(len(seen[0]), np.nan, np.float32),
        place=np.full(len(seen[0]), -1, np.int32),
        recommended=np.r_[recommended, np.ones(len(everybody), bool)],
        n_videos=VIDEOS,
    )
    nowhere = np.zeros(VIEWERS, np.int64)
    counts = np.bincount(users, minlength=VIEWERS)
    requests = Requests(
        user=np.arange(VIEWERS, dtype=np.int32),
        time=np.full(VIEWERS, BEGIN),
        pause=np.full(VIEWERS, 60.0),
        start=nowhere,
        stop=nowhere,
        target_offsets=np.r_[0, np.cumsum(counts)],
        target=np.array(videos, np.int32),
    )
    return World(taste, production, requests, activity)


def verdict(challenger: Lists, made: World, activity: Activity) -> Verdict:
    """What the gate says of the challenger."""
    values = per_request(challenger, made.requests)
    fought = duel(challenger, made.production, made.requests, activity, BEGIN)
    contest = Contest("temporal", made.requests, values, {}, Champion("v7", BEGIN - 1, fought))
    nothing = values["ndcg@10"]
    evidence = Evidence(9, VIDEOS, made.requests, nothing, nothing, nothing, nothing, [contest])
    (found,) = (v for v in judge(evidence, Thresholds()) if "in production" in v.gate)
    return found


def unmarked(activity: Activity) -> Activity:
    return replace(activity, recommended=np.zeros_like(activity.recommended))


def test_production_that_wins_by_its_own_exposure_alone_does_not_refuse() -> None:
    made = world(noise=1.0)
    rival = model(made.taste, 1.0, seed=3)  # as good, and of another opinion
    assert not verdict(rival, made, unmarked(made.activity)).passed
    fair = verdict(rival, made, made.activity)
    assert "no difference is shown" in fair.why
    assert not fair.left_out
    targets = len(made.requests.target)
    gone = targets - len(compared((rival, rival), made.requests, made.activity).requests.target)
    assert gone > targets / 2
    assert f" of {targets:,} targets are left out for what was shown" in fair.why


@pytest.mark.parametrize(("noise", "says"), [(0.5, "better"), (1.5, "worse"), (2.0, "worse")])
def test_who_knows_more_or_less_is_still_told(noise: float, says: str) -> None:
    made = world(noise=1.0)
    found = verdict(model(made.taste, noise, seed=3), made, made.activity)
    assert f": {says}; " in found.why
    assert found.passed is (says == "better")


def test_where_everything_was_shown_nothing_is_compared() -> None:
    made = world(noise=1.0)
    everything = replace(made.activity, recommended=np.ones(len(made.activity), bool))
    left = verdict(model(made.taste, 1.0, seed=3), made, everything)
    assert left.passed
    assert left.left_out
    assert "too little evidence: 0 viewers" in left.why


def compared(lists: tuple[Lists, Lists], requests: Requests, activity: Activity) -> Duel:
    return duel(*lists, requests, activity, BEGIN)


def test_a_log_without_requests_is_compared_as_it_is() -> None:
    made = world(noise=1.0)
    lists = model(made.taste, 1.0, seed=3), made.production
    old = replace(made.activity, time=np.full(len(made.activity), BEGIN - 1))
    for activity in (unmarked(made.activity), old):
        found = compared(lists, made.requests, activity)
        assert found.targets == len(found.requests.target)
        for values, those in zip((found.ours, found.theirs), lists, strict=True):
            for name, expected in per_request(those, made.requests).items():
                np.testing.assert_array_equal(values[name], expected)


def test_lists_that_close_up_too_far_are_not_compared() -> None:
    made = world(noise=1.0)
    short = made.production[:, : SHOWN + LEAST - 1]
    assert len(compared((short, short), made.requests, made.activity).requests) == 0
    enough = made.production[:, : SHOWN + LEAST]
    left = compared((enough, enough), made.requests, made.activity).requests
    assert len(left) == len(
        compared((enough, made.production), made.requests, made.activity).requests
    )
    assert VIEWERS * 0.9 < len(left) <= VIEWERS, "but for those who found nothing else"
    # A catalogue of few videos has short lists anyway.
    assert len(compared((short, short), made.requests, unmarked(made.activity)).requests) == VIEWERS


@pytest.mark.parametrize("k", [12, 40])
@given(st.integers(0, 2**32))
def test_it_does_what_it_says(k: int, seed: int) -> None:
    """Beside a loop over viewers, lists and what they were shown."""
    rng = np.random.default_rng(seed)
    log = oracle.random_log(seed % 1000)
    requests = temporal(log).test
    n = 30
    activity = Activity(
        user=rng.integers(0, log.n_users, n).astype(np.int32),
        video=rng.integers(0, log.n_videos, n).astype(np.int32),
        type=np.zeros(n, np.int8),
        time=rng.choice([BEGIN - 1, BEGIN], n),
        seconds=np.zeros(n, np.float32),
        fraction=np.zeros(n, np.float32),
        place=np.zeros(n, np.int32),
        recommended=rng.random(n) < 0.7,
        n_videos=log.n_videos,
    )
    lists = [
        np.array([rng.permutation(log.n_videos)[:k] for _ in range(len(requests))], np.int32)
        for _ in range(2)
    ]
    for one in lists:  # some have ended
        one[rng.random(len(one)) < 0.3, k // 2 :] = -1
    found = compared((lists[0], lists[1]), requests, activity)
    shown = {
        (int(activity.user[j]), int(activity.video[j]))
        for j in range(n)
        if activity.recommended[j] and activity.time[j] >= BEGIN
    }
    users, targets, values = [], [], []
    for r, user in enumerate(requests.user.tolist()):
        out = {v for u, v in shown if u == user}
        ours, theirs = ([v for v in one[r].tolist() if v >= 0] for one in lists)
        out |= set(ours[: len(out & set(theirs))])
        mine = requests.target[requests.target_offsets[r] : requests.target_offsets[r + 1]]
        left = [v for v in mine.tolist() if v not in out]
        both = [[v for v in one if v not in out] for one in (ours, theirs)]
        deep = all(
            len(after) >= LEAST or len(after) == len(before)
            for before, after in zip((ours, theirs), both, strict=True)
        )
        if left and deep:
            users.append(user)
            targets.append(left)
            values.append([oracle.ndcg(one, set(left), 10) for one in both])
    assert found.requests.user.tolist() == users
    split = np.split(found.requests.target, found.requests.target_offsets[1:-1])
    assert [part.tolist() for part in split if len(part)] == targets
    np.testing.assert_allclose(found.ours["ndcg@10"], [v[0] for v in values])
    np.testing.assert_allclose(found.theirs["ndcg@10"], [v[1] for v in values])
