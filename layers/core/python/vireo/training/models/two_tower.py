"""Training of the towers: one compiled step, a moving average of the weights, early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from vireo.jobs.progress import Progress
from vireo.keys import Keys, keys_of
from vireo.recommender.tower import ContentTower, UserTower
from vireo.training.data.log import Log
from vireo.training.models.tower_batches import Batches
from vireo.training.models.tower_model import (
    Batch,
    Content,
    TowerConfig,
    TowerParams,
    initial_params,
    loss,
)

Weights = dict[str, NDArray[Any]]
#: Philox is much faster than JAX's default generator on a CPU, and dropout needs many numbers.
GENERATOR = "unsafe_rbg"
REPORT_EVERY = 20  #: steps


class Known(NamedTuple):
    """The viewers whose ids the towers have learned: those with an event in the log."""

    keys: Keys  #: uint64 [m], ascending
    rows: NDArray[np.int64]  #: [m] of the weights "users"

    @classmethod
    def of(cls, log: Log) -> Known:
        """The viewers of a log."""
        rows = np.unique(log.user).astype(np.int64)
        keys = keys_of(i.decode() for i in log.people.ids[rows].tolist())
        order = np.argsort(keys)
        return cls(keys[order], rows[order] + 1)


@dataclass(frozen=True)
class TwoTower:
    """Fitted towers, for a bundle and as the start of a later fit."""

    params: Weights  #: by the names of `tower_model.initial_params`
    content: NDArray[np.float32]  #: [n, d] vectors of the log's videos by the content tower
    watched: NDArray[np.int64]  #: [n] events per video of the log
    losses: tuple[float, ...] = ()  #: mean loss by epoch
    validation: tuple[tuple[float, float], ...] = ()  #: by epoch: HR@10, HR@100 of the next event
    epochs: int = 0  #: the epoch of these weights
    known: Known | None = None  #: with `TowerConfig.user_ids`

    def item_vectors(self) -> NDArray[np.float32]:
        """Vectors of the log's videos, the bias last: float32 [n, d + 1].

        A video that nobody watched has only the vector of its content, because its id was not
        learned.
        """
        learned = self.content + self.params["id"] * (self.watched > 0)[:, None]
        return np.hstack([learned, self.params["bias"][:, None]])

    def arrays(self) -> Weights:
        """The arrays of `UserTower` and `ContentTower`."""
        arrays = _tower_arrays(self.params, self.watched)
        if self.known is not None:
            unknown_and_known = np.concatenate([[0], self.known.rows])
            arrays["users/keys"] = self.known.keys
            arrays["users/vectors"] = self.params["users"][unknown_and_known]
        return arrays


class State(NamedTuple):
    """The state that a step updates."""

    params: TowerParams
    average: TowerParams
    optimizer: Any
    steps: jax.Array


def fit(
    log: Log,
    config: TowerConfig,
    *,
    validation: Log | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    start: Mapping[str, NDArray[Any]] | None = None,
    epochs: int | None = None,
) -> TwoTower:
    """Towers that predict every event of the log from the same viewer's events before it.

    Args:
        log: the events to learn from.
        config: of the towers.
        validation: the events after the log. After every epoch, next events are predicted on a
            sample of them; the best weights are kept, and `config.patience` epochs without a gain
            end the training.
        seed: of all random numbers.
        progress: called during training.
        start: `TwoTower.params` of an earlier fit on the same videos, to continue from. A few
            epochs at a third of the learning rate then replace many from scratch. That fit must
            not have seen the events on which this one is evaluated.
        epochs: overrides `config.epochs`.

    Raises:
        ValueError: the log is empty, or ``start`` does not match its videos and vocabulary.
    """
    if not len(log):
        raise ValueError("no events to learn from")
    if epochs is not None:
        config = replace(config, epochs=epochs)
    rng = np.random.default_rng(seed)
    batches = Batches(log, config)
    total = batches.steps * config.epochs
    params = initial_params(log, config, rng)
    if start is not None:
        params = _resumed(params, start)
    warmup = min(config.warmup_steps, max(1, total // 10))
    state = State(
        params,
        jax.tree.map(jnp.copy, params),
        _optimizer(config).init(params),
        jnp.zeros((), jnp.int32),
    )
    # fits that differ only in these share the compiled step
    shape = replace(config, epochs=0, patience=0, learning_rate=0.0)
    content = Content.of(log)
    key = jax.random.key(seed, impl=GENERATOR)
    judge = NextEvent(log, validation, config, seed) if validation is not None else None
    known = Known.of(log) if config.user_ids else None

    best: TwoTower | None = None
    losses: list[float] = []
    scores: list[tuple[float, float]] = []
    done = 0
    for epoch in range(1, config.epochs + 1):
        values = []
        for batch in batches.epoch(rng):
            rate = _rate(config, done / total) * min(1, (done + 1) / warmup)
            state, value = _step(state, content, batch, rate, key, config=shape)
            values.append(value)
            done += 1
            if progress is not None and (done % REPORT_EVERY == 0 or done == total):
                progress(done / total, f"epoch {epoch}/{config.epochs}, loss {float(value):.3f}")
        losses.append(float(np.mean(jax.device_get(values))))
        if judge is not None:
            fitted = _fitted(state.average, log, known, epoch)
            scores.append(judge(fitted))
            if best is None or _gain(scores[-1]) > _gain(scores[best.epochs - 1]):
                best = fitted
            if epoch - best.epochs >= config.patience:
                break
    kept = best or _fitted(state.average, log, known, config.epochs)
    return replace(kept, losses=tuple(losses), validation=tuple(scores))


class NextEvent:
    """Validation: the rank of the next event among all videos, on a sample of later events."""

    def __init__(self, log: Log, later: Log, config: TowerConfig, seed: int) -> None:
        self._log = replace(
            log,
            user=np.concatenate([log.user, later.user]),
            video=np.concatenate([log.video, later.video]),
            time=np.concatenate([log.time, later.time]),
            device=np.concatenate([log.device, later.device]),
            weight=np.concatenate([log.weight, later.weight]),
            place=np.concatenate([log.place, later.place]),
        )
        self._order, self._offsets = self._log.histories()
        place = np.empty(len(self._log), np.int64)
        place[self._order] = np.arange(len(self._log))
        rng = np.random.default_rng(seed)
        count = min(len(later), config.validation_requests)
        sample = np.sort(rng.choice(len(later), count, replace=False)) + len(log)
        self._places = place[sample]

    def __call__(self, towers: TwoTower) -> tuple[float, float]:
        """HR@10 and HR@100. Watched videos are left out of the ranking; ties rank before."""
        vectors = towers.item_vectors()
        user_tower = UserTower.from_arrays(towers.arrays())
        ranks = np.array([self._rank(int(p), vectors, user_tower) for p in self._places])
        if not len(ranks):
            return 0.0, 0.0
        return float((ranks <= 10).mean()), float((ranks <= 100).mean())

    def _rank(self, place: int, vectors: NDArray[np.float32], tower: UserTower) -> int:
        log, event = self._log, int(self._order[place])
        user = int(log.user[event])
        before = self._order[self._offsets[user] : place]
        rows = log.video[before]
        recent = before[-tower.length - 1 :]
        query = tower.encode(
            vectors[log.video[recent], :-1],
            log.time[recent],
            float(log.time[event]),
            age=int(log.people.age[user]),
            country=int(log.people.country[user]),
            language=int(log.people.language[user]),
            device=int(log.device[event]),
            user=tower.user(log.people.ids[user].decode()),
        )
        scores = vectors @ query
        own = scores[log.video[event]]
        scores[rows] = -np.inf
        return int((scores >= own).sum())


@partial(jax.jit, static_argnames="config", donate_argnames="state")
def _step(
    state: State,
    content: Content,
    batch: Batch,
    rate: float,
    key: jax.Array,
    *,
    config: TowerConfig,
) -> tuple[State, jax.Array]:
    key = jax.random.fold_in(key, state.steps)
    value, gradient = jax.value_and_grad(loss)(state.params, content, batch, key, config)
    updates, optimizer = _optimizer(config).update(gradient, state.optimizer, state.params)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    # the first averages are short, so that the initial weights soon have no effect
    decay = jnp.minimum(config.average, (1.0 + state.steps) / (10.0 + state.steps))
    average = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), state.average, params)
    return State(params, average, optimizer, state.steps + 1), value


def _optimizer(config: TowerConfig) -> Any:
    """AdamW on matrices, Adam on vectors, before the learning rate."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.scale_by_adam(b2=0.98),
        optax.add_decayed_weights(
            config.weight_decay,
            mask=lambda params: {name: value.ndim > 1 for name, value in params.items()},
        ),
    )


def _rate(config: TowerConfig, done: float) -> float:
    """The learning rate after a share of the steps, without warm-up: constant, then decaying."""
    left = (1 - done) / (1 - config.decay_from)
    return config.learning_rate * min(1.0, max(0.02, left))


def _resumed(fresh: TowerParams, start: Mapping[str, NDArray[Any]]) -> TowerParams:
    for name, value in fresh.items():
        if name not in start or start[name].shape != value.shape:
            found = start[name].shape if name in start else "nothing"
            raise ValueError(f"cannot go on from {name}: {found} instead of {value.shape}")
    return {name: jnp.array(start[name], jnp.float32) for name in fresh}


def _fitted(average: TowerParams, log: Log, known: Known | None, epoch: int) -> TwoTower:
    params: Weights = {name: np.array(value) for name, value in average.items()}
    watched = np.bincount(log.video, minlength=log.n_videos)
    videos = log.videos
    content = ContentTower.from_arrays(_tower_arrays(params, watched)).encode(
        videos.category, videos.language, videos.duration, log.text
    )
    return TwoTower(params, content[:, :-1], watched, epochs=epoch, known=known)


def _tower_arrays(params: Weights, watched: NDArray[np.int64]) -> Weights:
    """The weights without the tables of ids, and with the bias of a video of unknown popularity."""
    arrays = {n: value for n, value in params.items() if n not in ("id", "bias", "users")}
    seen = params["bias"][watched > 0]
    arrays["content/neutral"] = np.full((), seen.mean() if len(seen) else 0, np.float32)
    return arrays


def _gain(hit_rates: tuple[float, float]) -> float:
    """The validation criterion: it values the top of the list, and the ranker's candidates."""
    return hit_rates[0] + 0.5 * hit_rates[1]
