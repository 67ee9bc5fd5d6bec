"""Fitting the towers: they find a planted order, repeat themselves, and never look ahead."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.planted import log_of, ring_log
from vireo.keys import keys_of
from vireo.recommender.tower import ContentTower, UserTower
from vireo.training.models.tower_batches import Batches
from vireo.training.models.tower_model import (
    Content,
    Positions,
    TowerConfig,
    encode,
    initial_params,
    loss,
)
from vireo.training.models.two_tower import NextEvent, TwoTower, fit

SMALL = TowerConfig(
    dimension=16,
    length=20,
    hidden=32,
    content_hidden=16,
    rows=8,
    negatives=64,
    learning_rate=1e-2,
    warmup_steps=20,
    average=0.95,
    epochs=10,
)
RING = ring_log()
CUT = int(len(RING) * 0.8)
PAST, LATER = RING.until(CUT), RING.between(CUT, len(RING))


@pytest.fixture(scope="module")
def fitted() -> TwoTower:
    return fit(PAST, SMALL, seed=3)


def _judge() -> NextEvent:
    return NextEvent(PAST, LATER, SMALL, 0)


def test_finds_an_order_that_popularity_cannot_see(fitted: TwoTower) -> None:
    ten, hundred = _judge()(fitted)
    popular = replace(
        fitted,
        params={**fitted.params, "id": fitted.params["id"] * 0},
        content=fitted.content * 0,
    )
    chance, _ = _judge()(popular)
    assert chance < 0.2
    assert ten > 3 * chance
    assert hundred > ten
    assert fitted.losses[-1] < fitted.losses[0]
    assert fitted.epochs == SMALL.epochs


def test_same_seed_same_bytes_other_seed_others(fitted: TwoTower) -> None:
    again, other = fit(PAST, SMALL, seed=3), fit(PAST, SMALL, seed=4, epochs=1)
    for name, value in fitted.params.items():
        assert value.tobytes() == again.params[name].tobytes(), name
    assert fitted.losses == again.losses
    assert fitted.losses[0] != other.losses[0]


def test_later_events_change_nothing_before_them() -> None:
    rng = np.random.default_rng(0)
    params = initial_params(PAST, SMALL, rng)
    videos = jnp.asarray(rng.standard_normal((50, 16)), jnp.float32)

    def at(item: np.ndarray, segment: np.ndarray) -> Positions:
        zeros = np.zeros(item.shape, np.int32)
        return Positions(
            segment=segment, item=item, pause=item % 7, request=item % 4, age=zeros,
            country=zeros, language=zeros, device=zeros, target=zeros, weight=zeros,
        )  # fmt: skip

    item = rng.integers(0, 50, (1, 20)).astype(np.int32)
    one = np.zeros_like(item)
    plain = np.asarray(encode(params, videos, at(item, one), config=SMALL))
    changed = item.copy()
    changed[0, 12:] = rng.integers(0, 50, 8)
    moved = np.asarray(encode(params, videos, at(changed, one), config=SMALL))
    np.testing.assert_array_equal(plain[0, :12], moved[0, :12])
    assert not np.allclose(plain[0, 12:], moved[0, 12:])

    # another viewer in the same row: as if alone at the beginning of a row
    two = one.copy()
    two[0, 12:] = 1
    shared = np.asarray(encode(params, videos, at(item, two), config=SMALL))
    alone = np.asarray(
        encode(params, videos, at(np.roll(item, -12, axis=1), two[:, ::-1] * 0), config=SMALL)
    )
    np.testing.assert_allclose(shared[0, 12:], alone[0, :8], atol=1e-5)


def test_every_event_is_predicted_once_per_epoch_from_the_one_before() -> None:
    batches = Batches(PAST, SMALL)
    user_of_pair = {(int(u), int(v)) for u, v in zip(PAST.user, PAST.video, strict=True)}
    order, offsets = PAST.histories()
    before: dict[tuple[int, int], int] = {}
    for u in range(PAST.n_users):
        rows = PAST.video[order[offsets[u] : offsets[u + 1]]]
        before |= {(u, int(b)): int(a) for a, b in pairwise(rows)}
    rng = np.random.default_rng(0)
    for _ in range(2):
        seen = []
        for batch in batches.epoch(rng):
            at, start = batch.positions, len(batch.used)
            for k in np.argwhere(at.weight > 0):
                cell = (int(k[0]), int(k[1]))
                pair = (int(at.segment[cell]), int(batch.used[at.target[cell]]))
                item = int(at.item[cell])
                assert before.get(pair) == (None if item == start else int(batch.used[item]))
                seen.append(pair)
        assert len(seen) == len(PAST)
        assert set(seen) == user_of_pair


def test_padding_and_unused_videos_do_not_leak() -> None:
    batch = next(Batches(PAST, SMALL).epoch(np.random.default_rng(0)))
    params = initial_params(PAST, SMALL, np.random.default_rng(1))
    content, key = Content.of(PAST), jax.random.key(0)
    judged = jax.jit(jax.value_and_grad(loss), static_argnums=4)
    at = batch.positions
    first_row = at.weight * (np.arange(len(at.weight)) == 0)[:, None]
    other_targets = np.where(np.arange(len(at.weight)) == 0, at.target.T, 0).T
    values = [
        judged(params, content, batch._replace(positions=positions), key, SMALL)
        for positions in (
            at._replace(weight=first_row),
            at._replace(weight=first_row, target=other_targets),
            at._replace(target=other_targets),
        )
    ]
    assert values[0][0] == values[1][0] != values[2][0]
    named = batch.used[np.concatenate([at.target[0], batch.negatives])]
    gradient = np.asarray(values[0][1]["bias"])
    assert set(np.flatnonzero(gradient)) <= set(named)
    assert gradient[named].any()


def test_an_earlier_fit_can_be_gone_on_from(fitted: TwoTower) -> None:
    cold = fit(PAST, SMALL, seed=5, epochs=1)
    warm = fit(PAST, SMALL, seed=5, epochs=1, start=fitted.params)
    assert warm.losses[0] < 0.8 * cold.losses[0]
    assert _judge()(warm)[0] > _judge()(cold)[0] + 0.05
    fewer = ring_log(n_videos=100)
    with pytest.raises(ValueError, match="cannot go on from"):
        fit(fewer, SMALL, start=fitted.params)


def test_validation_keeps_the_best_epoch_and_ends_early() -> None:
    noise = ring_log(order=0.0, seed=1)
    config = replace(SMALL, patience=2, epochs=30, learning_rate=3e-2)
    told: list[float] = []
    towers = fit(
        noise.until(CUT),
        config,
        validation=noise.between(CUT, len(noise)),
        progress=lambda done, _: told.append(done or 0.0),
    )
    assert len(towers.validation) == len(towers.losses) < 30
    assert len(towers.validation) == towers.epochs + config.patience
    gains = [ten + 0.5 * hundred for ten, hundred in towers.validation]
    assert int(np.argmax(gains)) == towers.epochs - 1
    judge = NextEvent(noise.until(CUT), noise.between(CUT, len(noise)), config, 0)
    assert judge(towers) == towers.validation[towers.epochs - 1]
    assert told == sorted(told)


def test_progress_reaches_the_end() -> None:
    told: list[tuple[float | None, str]] = []
    fit(PAST.until(200), SMALL, epochs=2, progress=lambda *t: told.append(t))
    assert told[-1][0] == 1
    assert "epoch 2/2" in told[-1][1]


def test_a_video_nobody_watched_has_the_vector_of_its_content() -> None:
    log = PAST.take(PAST.video != 7)
    towers = fit(log, SMALL, epochs=1)
    vectors = towers.item_vectors()
    videos = log.videos
    content = ContentTower.from_arrays(towers.arrays()).encode(
        videos.category, videos.language, videos.duration, log.text
    )
    np.testing.assert_array_equal(vectors[7, :-1], content[7, :-1])
    assert not np.allclose(vectors[8, :-1], content[8, :-1])
    assert vectors[7, -1] < vectors[8, -1]
    seen = np.delete(vectors[:, -1], 7)
    np.testing.assert_allclose(content[:, -1], seen.mean(), rtol=1e-5)


def test_category_is_learned_so_that_a_new_video_is_found() -> None:
    """Viewers keep to one category; videos that nobody watched yet are ranked by theirs."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(120), 25)
    rank = np.argsort(rng.random((120, 30)), axis=1)[:, :25].ravel()
    log = log_of(users, 3 * rank + users % 3, np.arange(3000.0), n_users=120, n_videos=120)
    towers = fit(log, SMALL)
    vectors, judge = (
        towers.item_vectors(),
        NextEvent(log.until(2990), log.between(2990, 3000), SMALL, 0),
    )
    assert judge(towers)[1] > 0
    fresh = np.flatnonzero(towers.watched == 0)  # v90 … v119
    assert len(fresh) == 30
    watched_of = {
        c: vectors[(log.videos.category == c) & (towers.watched > 0), :-1].mean(axis=0)
        for c in (1, 2, 3)
    }
    nearest = [max(watched_of, key=lambda c: float(watched_of[c] @ vectors[j, :-1])) for j in fresh]
    assert np.mean(np.array(nearest) == log.videos.category[fresh]) > 0.9


def test_ids_tell_viewers_apart_whom_nothing_else_does_and_the_unknown_is_none_of_them() -> None:
    """Every viewer watches what no history of theirs foretells: a random half of the videos."""
    rng = np.random.default_rng(0)
    half = np.argsort(rng.random((60, 80)), axis=1)[:, :40]
    users = np.repeat(np.arange(60), 30)
    log = log_of(users, half[:, :30].ravel(), np.arange(1800.0), n_users=61, n_videos=80)
    config = replace(SMALL, user_ids=True, epochs=30)
    towers = fit(log, config, seed=1)
    tower = UserTower.from_arrays(towers.arrays())
    assert tower.users is not None
    assert tower.users.vectors.shape == (61, 16)
    assert np.abs(tower.users.vectors[0]).sum() > 0  # hidden ids have trained it
    assert tower.user(log.people.ids[60].decode()) == 0  # was not there

    columns = log.videos.rows(keys_of(f"v{j}" for j in range(80)))
    vectors, nothing = towers.item_vectors(), np.zeros((0, 16), np.float32)

    def margin(user: int, row: int) -> float:
        """How much higher the watched videos are than those the viewer did not choose."""
        query = tower.encode(
            nothing, np.zeros(0), 0.0, age=-1, country=0, language=0, device=0, user=row
        )
        scores = vectors @ query
        others = np.setdiff1d(np.arange(80), half[user])
        return float(scores[columns[half[user, :30]]].mean() - scores[columns[others]].mean())

    rows = [tower.user(log.people.ids[u].decode()) for u in range(60)]
    own = np.mean([margin(u, rows[u]) for u in range(60)])
    unknown = np.mean([margin(u, 0) for u in range(60)])
    another = np.mean([margin(u, rows[u - 1]) for u in range(60)])
    assert own > unknown + 0.3
    assert own > another + 0.3


def test_with_ids_a_fit_can_be_gone_on_from() -> None:
    config = replace(SMALL, user_ids=True, epochs=1)
    first = fit(PAST, config)
    again = fit(PAST, config, start=first.params)
    assert again.params["users"].shape == (1 + PAST.n_users, 16)
    assert again.losses[0] < first.losses[0]
    with pytest.raises(ValueError, match="cannot go on from users"):
        fit(PAST, config, start=fit(PAST, SMALL, epochs=1).params)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(ValueError, match="no events"):
        fit(PAST.until(0), SMALL)


def test_presets_follow_density_and_size() -> None:
    few = ring_log(n_users=60, n_videos=20, events=18)
    dense, sparse = TowerConfig.for_log(few), TowerConfig.for_log(RING)
    assert dense.id_dropout == TowerConfig().id_dropout < sparse.id_dropout
    assert dense.epochs > sparse.epochs
    assert dense.rows < TowerConfig().rows  # a small log takes smaller steps
