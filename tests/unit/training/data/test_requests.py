"""Requests see the past of their viewer, ask for its future, and never the other way round."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import oracles_evaluation as oracle
from vireo.training.data.log import Log
from vireo.training.data.requests import (
    Requests,
    Split,
    leave_one_out,
    successive,
    temporal,
)

PROTOCOLS = {
    "temporal": temporal,
    "successive": lambda log: successive(log, cap=None),
    "capped": lambda log: successive(log, cap=2, seed=3),
    "leave-one-out": leave_one_out,
}
seeds = st.integers(0, 10_000)


def histories(log: Log, requests: Requests) -> list[list[int]]:
    h = requests.histories(log)
    return [h.video[a:b].tolist() for a, b in pairwise(h.offsets)]


def targets(requests: Requests) -> list[set[int]]:
    o = requests.target_offsets
    return [set(requests.target[a:b].tolist()) for a, b in pairwise(o)]


@given(seeds, st.sampled_from([0.7, 0.8, 0.9]))
def test_temporal_is_the_outside_scorers_split(seed: int, cut: float) -> None:
    log = oracle.random_log(seed)
    split = temporal(log, cut)
    expected = oracle.temporal(log, cut)
    assert split.test.user.tolist() == sorted(expected)
    assert histories(log, split.test) == [expected[u][0] for u in sorted(expected)]
    assert targets(split.test) == [expected[u][2] for u in sorted(expected)]
    moment = log.time[np.flatnonzero(~split.fit)[0]]
    assert (split.test.time == moment).all()


@pytest.mark.parametrize(("cut", "second"), [(0.7, 850), (0.8, 900), (0.9, 950)])
def test_parts_of_a_temporal_split(cut: float, second: int) -> None:
    log = oracle.make_log([j % 7 for j in range(1000)], list(range(1000)), list(range(1000)), 1000)
    split = temporal(log, cut)
    assert split.train.sum() == int(1000 * cut)
    assert split.fit.sum() == second


@given(seeds)
def test_successive_asks_for_every_event_of_the_period(seed: int) -> None:
    log = oracle.random_log(seed)
    split = successive(log, cap=None)
    asked = []
    for j in np.flatnonzero(~split.fit):
        before = [i for i in range(j) if log.user[i] == log.user[j]]
        if before:
            pause = log.time[j] - log.time[before[-1]]
            asked.append((int(log.user[j]), log.video[before].tolist(), int(log.video[j]), pause))
    test = split.test
    assert asked == list(
        zip(
            test.user.tolist(),
            histories(log, test),
            test.target.tolist(),
            test.pause.tolist(),
            strict=True,
        )
    )
    assert (test.n_targets == 1).all()


@given(seeds)
def test_leave_one_out_asks_for_last_events(seed: int) -> None:
    log = oracle.random_log(seed, n=60, n_users=20)
    split = leave_one_out(log)
    mine = {u: np.flatnonzero(log.user == u) for u in range(log.n_users)}
    last = {int(j[-1]) for j in mine.values() if len(j) >= 3}
    before = {int(j[-2]) for j in mine.values() if len(j) >= 3}
    assert set(np.flatnonzero(~split.fit).tolist()) == last
    assert set(np.flatnonzero(split.tune).tolist()) == before
    for requests, held_out in ((split.test, 1), (split.validation, 2)):
        assert histories(log, requests) == [
            log.video[mine[u][:-held_out]].tolist() for u in requests.user.tolist()
        ]
        assert requests.target.tolist() == [
            log.video[mine[u][-held_out]] for u in requests.user.tolist()
        ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(seeds)
def test_masks_and_requests_fit_together(protocol: str, seed: int) -> None:
    log = oracle.random_log(seed)
    split: Split = PROTOCOLS[protocol](log)
    assert not (split.train & split.tune).any()
    for requests in (split.validation, split.test):
        seen, wanted = histories(log, requests), targets(requests)
        assert all(not set(h) & w and w for h, w in zip(seen, wanted, strict=True))
        times = requests.histories(log)
        assert (times.time <= np.repeat(requests.time, times.lengths)).all()
        new = np.array([not h for h in seen], bool)
        assert np.isinf(requests.pause[new]).all()
        assert (requests.pause >= 0).all()
    learnt = log.take(split.fit)
    pairs = set(zip(learnt.user.tolist(), learnt.video.tolist(), strict=True))
    asked = zip(
        split.test.user[split.test.target_owner()].tolist(),
        split.test.target.tolist(),
        strict=True,
    )
    assert not pairs & set(asked)


@pytest.mark.parametrize("protocol", ["temporal", "successive"])
@given(seeds)
def test_what_comes_later_changes_no_history(protocol: str, seed: int) -> None:
    log = oracle.random_log(seed)
    split = PROTOCOLS[protocol](log)
    begin = int(split.fit.sum())
    rng = np.random.default_rng(seed)
    if protocol == "temporal":
        now, requests = begin, split.test
    else:
        now = (begin + len(log)) // 2
        positions = np.flatnonzero(~split.fit)
        asked = [j for j in positions if (log.user[:j] == log.user[j]).any()]
        requests = split.test.take(np.flatnonzero(np.array(asked) <= now))
    future = now + rng.permutation(len(log) - now)
    altered = replace(
        log,
        user=np.concatenate([log.user[:now], log.user[future]]),
        video=np.concatenate([log.video[:now], rng.integers(0, 40, len(future), np.int32)]),
    )
    _, old = log.histories()
    _, new = altered.histories()
    moved = replace(
        requests,
        start=requests.start - old[requests.user] + new[requests.user],
        stop=requests.stop - old[requests.user] + new[requests.user],
    )
    assert histories(altered, moved) == histories(log, requests)
    if protocol == "temporal":
        again = temporal(altered).test
        same = np.intersect1d(again.user, requests.user)
        assert (
            histories(altered, again.take(np.searchsorted(again.user, same)))
            == histories(log, requests.take(np.searchsorted(requests.user, same)))
        )  # fmt: skip


def test_a_cap_draws_the_same_requests_again() -> None:
    log = oracle.random_log(1, n=900)
    full, capped = successive(log, cap=None).test, successive(log, cap=3, seed=5).test
    again, other = successive(log, cap=3, seed=5).test, successive(log, cap=3, seed=6).test
    assert np.bincount(capped.user).max() == 3
    counts = np.minimum(np.bincount(full.user), 3)
    assert (np.bincount(capped.user, minlength=len(counts)) == counts).all()
    assert (capped.target == again.target).all()
    assert capped.target.tolist() != other.target.tolist()
    pairs = set(zip(full.user.tolist(), full.target.tolist(), strict=True))
    assert set(zip(capped.user.tolist(), capped.target.tolist(), strict=True)) <= pairs


def test_newcomers_are_asked_when_wanted() -> None:
    log = oracle.make_log([0] * 8 + [1, 1], [*range(8), 0, 1], list(range(10)), 8)
    assert successive(log).test.user.tolist() == [1]
    everyone = successive(log, least_history=0).test
    assert everyone.user.tolist() == [1]
    assert successive(log, least_history=0).validation.user.tolist() == [1]
    assert np.isinf(successive(log, least_history=0).validation.pause).all()


def test_take_keeps_requests_whole() -> None:
    log = oracle.random_log(2)
    test = temporal(log).test
    some = test.take(np.array([2, 0]))
    assert histories(log, some) == [histories(log, test)[j] for j in (2, 0)]
    assert targets(some) == [targets(test)[j] for j in (2, 0)]


def test_refuses_what_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="three parts"):
        temporal(oracle.make_log([0, 1], [0, 1], [0, 1], 2))
    log = oracle.random_log(3)
    with pytest.raises(ValueError, match="order of time"):
        temporal(replace(log, time=log.time[::-1]))
