"""The towers in numpy: equal to those in JAX that were trained, for every shape of a request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.planted import ring_log
from vireo.recommender.pauses import (
    HISTORY_PAUSE_BUCKETS,
    history_pause_buckets,
    pause_bucket,
    pause_buckets,
)
from vireo.recommender.tower import ContentTower, UserTower, age_bucket, duration_buckets
from vireo.training.models.tower_model import (
    Content,
    Positions,
    TowerConfig,
    content_vectors,
    encode,
    initial_params,
)
from vireo.training.models.two_tower import Known, TwoTower

LOG = ring_log(n_users=10, n_videos=300, events=5)
CONFIG = TowerConfig()


def _weights(seed: int = 0) -> dict[str, NDArray[Any]]:
    """Weights none of which is zero or one, so that each of them counts."""
    rng = np.random.default_rng(seed)
    fresh = initial_params(LOG, CONFIG, rng)
    moved = {k: np.asarray(v) + 0.1 * rng.standard_normal(v.shape) for k, v in fresh.items()}
    return {k: v.astype(np.float32) for k, v in moved.items()}


WEIGHTS = _weights()
ARRAYS = {**WEIGHTS, "content/neutral": np.full((), 0.25, np.float32)}
ITEMS = np.random.default_rng(1).standard_normal((300, 64)).astype(np.float32) * 0.3


#: The same tower, trained with the ids of viewers; only some of them had an event.
WITH_IDS = replace(CONFIG, user_ids=True)
USERS = np.random.default_rng(2).standard_normal((1 + LOG.n_users, 64)).astype(np.float32)
KNOWN = Known.of(LOG.until(20))
ARRAYS_WITH_IDS = TwoTower(
    WEIGHTS | {"users": USERS}, np.zeros((300, 64), np.float32), np.ones(300, int), known=KNOWN
).arrays()


def _in_jax(
    rows: NDArray[Any],
    times: NDArray[Any],
    now: float,
    profile: dict[str, int],
    user: int | None = None,
) -> Any:
    """One request as training sees it: the start, then every event, the last `length` kept.

    ``user``: the viewer's row among the log's people, -1 unknown; None: a tower without ids.
    """
    pauses = np.diff(times)
    entered = np.full(len(rows) + 1, HISTORY_PAUSE_BUCKETS - 1)
    entered[2:] = history_pause_buckets(pauses)
    items = np.concatenate([[len(ITEMS)], rows])[-CONFIG.length :]
    entered = entered[-CONFIG.length :]
    row = np.zeros((1, CONFIG.length), np.int32)  # what follows the request must not matter
    item, pause, segment = row.copy(), row.copy(), row + 1
    n = len(items)
    item[0, :n], pause[0, :n], segment[0, :n] = items, entered, user or 0
    same = {k: row + profile[k] for k in ("country", "language", "device")}
    request = pause_bucket(now - times[-1] if len(times) else None)
    at = Positions(
        segment=segment,
        item=item,
        pause=pause,
        request=row + request,
        age=row + age_bucket(profile["age"]),
        target=row,
        weight=np.zeros((1, CONFIG.length), np.float32),
        **same,
    )
    params = {k: jnp.asarray(v) for k, v in WEIGHTS.items()} | {"users": jnp.asarray(USERS)}
    config = CONFIG if user is None else WITH_IDS
    return np.asarray(encode(params, jnp.asarray(ITEMS), at, config=config))[0, n - 1]


@pytest.mark.parametrize("h", [0, 1, 2, 48, 49, 50, 51, 200])
@pytest.mark.parametrize("pause", [0.0, 7200.0, 2e5, 1e7])
def test_user_tower_equals_the_trained_one(h: int, pause: float) -> None:
    rng = np.random.default_rng(h)
    rows = rng.integers(0, len(ITEMS), h)
    times = np.cumsum(rng.choice([0.0, 3, 40, 200, 900, 7200, 3e5], h)) + 1e9
    now = (float(times[-1]) if h else 1e9) + pause
    for profile in (
        {"age": -1, "country": 0, "language": 0, "device": 0},
        {"age": 27, "country": 3, "language": 1, "device": 2},
    ):
        served = UserTower.from_arrays(ARRAYS).encode(ITEMS[rows], times, now, **profile)
        assert served.dtype == np.float32
        assert served[-1] == 1
        np.testing.assert_allclose(served[:-1], _in_jax(rows, times, now, profile), atol=1e-5)


@pytest.mark.parametrize("h", [0, 3, 60])
def test_user_tower_with_ids_equals_the_trained_one(h: int) -> None:
    rng = np.random.default_rng(h)
    rows, times = rng.integers(0, len(ITEMS), h), 1e9 + np.arange(h, dtype=np.float64)
    tower = UserTower.from_arrays(ARRAYS_WITH_IDS)
    assert tower.users is not None
    assert len(tower.users.vectors) == 1 + len(KNOWN.keys) < 1 + LOG.n_users
    who = {"age": 30, "country": 1, "language": 1, "device": 1}
    active = set(LOG.until(20).user.tolist())
    for user, name in enumerate(LOG.people.ids.tolist()):
        known = tower.user(name.decode())
        assert (known > 0) == (user in active)
        served = tower.encode(ITEMS[rows], times, 2e9, **who, user=known)
        trained = _in_jax(rows, times, 2e9, who, user=user if known else -1)
        np.testing.assert_allclose(served[:-1], trained, atol=1e-5)
    assert tower.user("nobody") == 0


def test_without_ids_nobody_is_known_and_nothing_is_kept_of_them() -> None:
    tower = UserTower.from_arrays(ARRAYS)
    assert tower.users is None
    assert tower.user(LOG.people.ids[0].decode()) == 0
    assert "users" not in initial_params(LOG, CONFIG, np.random.default_rng(0))
    assert {n for n in ARRAYS_WITH_IDS if n.startswith("users")} == {"users/keys", "users/vectors"}


def test_only_the_last_items_count_and_the_pause_before_the_first_of_them() -> None:
    tower = UserTower.from_arrays(ARRAYS)
    who = {"age": 30, "country": 1, "language": 1, "device": 1}
    times = np.arange(200, dtype=np.float64) * 10
    whole = tower.encode(ITEMS[:200], times, 2000.0, **who)
    enough = tower.encode(ITEMS[149:200], times[149:], 2000.0, **who)
    np.testing.assert_array_equal(whole, enough)
    earlier = times.copy()
    earlier[:150] -= 1e6  # only the pause before the first of the last 50 grows
    assert not np.array_equal(whole, tower.encode(ITEMS[:200], earlier, 2000.0, **who))


def test_a_viewer_without_history_is_told_apart_by_the_profile() -> None:
    tower = UserTower.from_arrays(ARRAYS)
    base = {"age": -1, "country": 0, "language": 0, "device": 0}

    def encoded(**profile: int) -> bytes:
        nothing = np.zeros((0, 64), np.float32)
        return tower.encode(nothing, np.zeros(0), 1e9, **{**base, **profile}).tobytes()

    assert len({encoded(), *(encoded(**{field: 1}) for field in base)}) == 1 + len(base)


def test_a_code_newer_than_the_model_counts_as_unknown() -> None:
    tower = UserTower.from_arrays(ARRAYS)
    times = np.array([1.0, 2, 3])
    unknown = tower.encode(ITEMS[:3], times, 4.0, age=20, country=0, language=0, device=0)
    newer = tower.encode(ITEMS[:3], times, 4.0, age=20, country=99, language=99, device=99)
    np.testing.assert_array_equal(unknown, newer)


def test_content_tower_equals_the_trained_one() -> None:
    duration = LOG.videos.duration.copy()
    duration[::4] = np.nan
    log = replace(LOG, videos=replace(LOG.videos, duration=duration))
    videos = log.videos
    assert np.isnan(videos.duration).any()
    assert not np.isnan(videos.duration).all()
    served = ContentTower.from_arrays(ARRAYS).encode(
        videos.category, videos.language, videos.duration, log.text
    )
    params = {k: jnp.asarray(v) for k, v in WEIGHTS.items()}
    np.testing.assert_allclose(
        served[:, :-1], np.asarray(content_vectors(params, Content.of(log))), atol=1e-5
    )
    np.testing.assert_array_equal(served[:, -1], np.float32(0.25))


def test_content_tower_takes_no_video_and_codes_newer_than_the_model() -> None:
    tower = ContentTower.from_arrays(ARRAYS)
    none = np.zeros(0, np.int16)
    assert tower.encode(none, none, np.zeros(0, np.float32), LOG.text[:0]).shape == (0, 65)
    one = (np.array([99], np.int16), np.array([0], np.int16), np.array([9], np.float32))
    unknown = (np.array([0], np.int16), *one[1:])
    np.testing.assert_array_equal(
        tower.encode(*one, LOG.text[:1]), tower.encode(*unknown, LOG.text[:1])
    )


def test_buckets() -> None:
    pauses = (-5, 0, 3599, 3600, 86400, 604800, None)
    assert [pause_bucket(p) for p in pauses] == [0, 0, 0, 1, 2, 3, 3]
    assert [age_bucket(a) for a in (-1, 0, 12, 13, 64, 65, 120)] == [0, 1, 1, 2, 7, 8, 8]
    durations = np.array([np.nan, 1, 15, 1e6], np.float32)
    assert duration_buckets(durations).tolist() == [0, 1, 2, 12]
    assert history_pause_buckets(np.array([0, 1, 59, 86400, np.nan])).tolist() == [0, 1, 2, 6, 6]


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e9, 1e9))
def test_one_pause_and_many_have_the_same_bucket(pause: float) -> None:
    assert pause_buckets(np.array([pause]))[0] == pause_bucket(pause)
