"""The towers in JAX: weights, forward pass and loss; `vireo.recommender.tower` serves them.

A viewer is encoded from the last items watched, in order, with the pauses between them. The last
item, four decayed sums and attention heads (with the last item as query) go through one hidden
layer. So a request costs one attention query, and not a network per position. The video's vector
(id embedding + content network) is both input and output; its bias starts at log-popularity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vireo.recommender.pauses import HISTORY_PAUSE_BUCKETS, PAUSE_BUCKETS
from vireo.recommender.tower import (
    AGE_BUCKETS,
    DECAYS,
    DURATION_BUCKETS,
    INPUT_SCALE,
    NORM_EPSILON,
    QUERY_DECAY,
    decay_weights,
    duration_buckets,
)
from vireo.training.data.log import Log

TowerParams = dict[str, jax.Array]


@dataclass(frozen=True)
class TowerConfig:
    """Architecture and optimisation of the towers; the defaults suit dense logs."""

    dimension: int = 64
    length: int = 50  #: maximum number of items of the history
    heads: int = 2
    hidden: int = 256
    content_hidden: int = 128
    rows: int = 40  #: rows of `length` positions in a step: 2,000 positions
    negatives: int = 256  #: drawn by popularity, shared by all positions of a step
    epochs: int = 20
    learning_rate: float = 3e-3
    warmup_steps: int = 200
    decay_from: float = 0.4  #: share of the steps after which the learning rate decays
    weight_decay: float = 0.01
    dropout: float = 0.2
    id_dropout: float = 0.1  #: share of a step's videos with a masked id
    profile_dropout: float = 0.1  #: share of the positions with a masked profile
    user_ids: bool = False  #: learn a vector for every viewer's id (decision 7)
    user_dropout: float = 0.2  #: share of the positions with a masked viewer's id
    clip: float = 5.0
    average: float = 0.998  #: decay of the moving average of the weights, which is kept
    patience: int = 4  #: evaluations without a gain after which training stops
    validation_requests: int = 2000

    @classmethod
    def for_log(cls, log: Log) -> Self:
        """Defaults by the density and the size of a log."""
        config = cls()
        if log.sparse:
            config = replace(config, id_dropout=0.2, epochs=10)
        steps_of_an_epoch = 30  # a small log needs smaller steps, to have enough of them
        rows = len(log) // (config.length * steps_of_an_epoch)
        return replace(config, rows=int(np.clip(rows, 8, config.rows)))


class Content(NamedTuple):
    """Inputs of the content network for n videos."""

    category: jax.Array  #: int32 [n]
    language: jax.Array  #: int32 [n]
    duration: jax.Array  #: int32 [n], bucket
    text: jax.Array  #: float32 [n, 512]

    @classmethod
    def of(cls, log: Log) -> Content:
        """The content of a log's videos."""
        return cls(
            category=jnp.asarray(log.videos.category, jnp.int32),
            language=jnp.asarray(log.videos.language, jnp.int32),
            duration=jnp.asarray(duration_buckets(log.videos.duration), jnp.int32),
            text=jnp.asarray(log.text),
        )


class Positions(NamedTuple):
    """Rows of positions, each an event to predict: all int32 [rows, length] except `weight`.

    A row may hold the end of one viewer's history and the beginning of another's; `segment`
    separates them.
    """

    segment: Any  #: the viewer: row of the log's people, -1 unknown
    item: Any  #: the preceding event: index into the step's videos, or of `start` after them
    pause: Any  #: bucket of the pause before `item`
    request: Any  #: bucket of the pause between `item` and the event to predict
    age: Any
    country: Any
    language: Any
    device: Any
    target: Any
    weight: Any  #: float32, 0 where there is nothing to predict


def initial_params(log: Log, config: TowerConfig, rng: np.random.Generator) -> TowerParams:
    """Initial weights; the biases are the centred log-popularity in the log."""
    d, h, k = config.dimension, config.hidden, config.content_hidden
    sizes = log.vocabulary.size
    popularity = np.log(log.count() + 1.0)
    inputs = (1 + config.heads + len(DECAYS)) * d
    text = log.text.shape[1]

    def normal(deviation: float, *shape: int) -> NDArray[np.float32]:
        return (rng.standard_normal(shape) * deviation).astype(np.float32)

    def dense(fan_in: int, fan_out: int) -> NDArray[np.float32]:
        bound = fan_in**-0.5
        return rng.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32)

    weights = {
        "id": normal(0.05, log.n_videos, d),
        "bias": popularity - popularity.mean(),
        "content/category": normal(0.1, sizes("categories"), k),
        "content/language": normal(0.1, sizes("languages"), k),
        "content/duration": normal(0.1, DURATION_BUCKETS, k),
        "content/text": normal(0.1, text, k),
        "content/b": np.zeros(k),
        "content/out/w": normal(0.01, k, d),
        "content/out/b": np.zeros(d),
        "start": normal(0.05, d),
        "pause": normal(0.02, HISTORY_PAUSE_BUCKETS, d),
        "query": normal(0.05, 2 * d, config.heads * d),
        "distance": np.zeros((config.heads, config.length)),
        "hidden/w": dense(inputs, h),
        "hidden/b": np.zeros(h),
        "age": np.zeros((AGE_BUCKETS, h)),
        "country": np.zeros((sizes("countries"), h)),
        "language": np.zeros((sizes("languages"), h)),
        "device": np.zeros((sizes("devices"), h)),
        "out/w": dense(h, d),
        "out/b": np.zeros(d),
        "norm/scale": np.ones(d),
        "norm/shift": np.zeros(d),
        "request/scale": np.ones((PAUSE_BUCKETS, d)),
        "request/shift": np.zeros((PAUSE_BUCKETS, d)),
    }
    if config.user_ids:  # the unknown viewer, then the people of the log
        weights["users"] = np.zeros((1 + log.n_users, d))
    return {name: jnp.asarray(value, jnp.float32) for name, value in weights.items()}


def drop(key: jax.Array, rate: float, x: jax.Array) -> jax.Array:
    """Dropout with 8 random bits an entry, at a quarter of the cost of the usual 32."""
    threshold = round(rate * 256)
    if threshold == 0:
        return x
    keep = jax.random.bits(key, x.shape, jnp.uint8) >= threshold
    return jnp.where(keep, x * (256 / (256 - threshold)), 0.0)


def content_vectors(params: TowerParams, content: Content) -> jax.Array:
    """Output of the content network: [n, d]."""
    y = content.text @ params["content/text"] + params["content/b"]
    y = y + params["content/category"][content.category]
    y = y + params["content/language"][content.language]
    y = y + params["content/duration"][content.duration]
    return jax.nn.relu(y) @ params["content/out/w"] + params["content/out/b"]


def encode(
    params: TowerParams,
    videos: jax.Array,
    at: Positions,
    *,
    key: jax.Array | None = None,
    config: TowerConfig,
) -> jax.Array:
    """Query vectors at every position from the events before it: [rows, length, d].

    Args:
        params: the weights.
        videos: [m, d] the vectors that `at.item` points into; index m is the start of a history.
        at: the positions.
        key: random key for dropout; None outside training.
        config: of the towers.
    """
    table = jnp.concatenate([videos, params["start"][None]]) * INPUT_SCALE
    x = table[at.item] + params["pause"][at.pause]
    if key is not None:
        input_key, hidden_key, profile_key = jax.random.split(key, 3)
        x = drop(input_key, config.dropout, x)
    rows, length, d = x.shape
    distance = np.arange(length)[:, None] - np.arange(length)
    before = (distance >= 0) & (at.segment[:, :, None] == at.segment[:, None, :])
    distance = np.maximum(distance, 0)

    decays = decay_weights(length)[:, distance] * before[:, None]
    sums = (decays.reshape(rows, -1, length) @ x).reshape(rows, len(DECAYS), length, d)
    query = jnp.concatenate([x, sums[:, QUERY_DECAY]], axis=-1) @ params["query"]
    query = query.reshape(rows, length, config.heads, d)
    logits = jnp.einsum("blhd,bmd->bhlm", query, x) / np.sqrt(d)
    logits = logits + params["distance"][:, distance]
    attention = jax.nn.softmax(jnp.where(before[:, None], logits, -1e9), axis=-1)
    attended = (attention.reshape(rows, -1, length) @ x).reshape(rows, -1, length, d)

    every = jnp.concatenate([x[:, None], attended, sums], axis=1)
    y = every.transpose(0, 2, 1, 3).reshape(rows, length, -1) @ params["hidden/w"]
    profile = (
        params["age"][at.age]
        + params["country"][at.country]
        + params["language"][at.language]
        + params["device"][at.device]
    )
    if key is not None:
        unknown = sum(params[name][0] for name in ("age", "country", "language", "device"))
        hide = jax.random.uniform(profile_key, (rows, length, 1)) < config.profile_dropout
        profile = jnp.where(hide, unknown, profile)
    y = jax.nn.relu(y + profile + params["hidden/b"])
    if key is not None:
        y = drop(hidden_key, config.dropout, y)
    z = x + y @ params["out/w"] + params["out/b"]
    if config.user_ids:
        z = z + _user_vectors(params["users"], at.segment, key, config.user_dropout)
    z = z - z.mean(axis=-1, keepdims=True)
    z = z * jax.lax.rsqrt((z * z).mean(axis=-1, keepdims=True) + NORM_EPSILON)
    z = z * params["norm/scale"] + params["norm/shift"]
    return z * params["request/scale"][at.request] + params["request/shift"][at.request]


def _user_vectors(
    users: jax.Array, segment: jax.Array, key: jax.Array | None, dropout: float
) -> jax.Array:
    """Vectors of the viewers' ids: [rows, length, d]; masked ones are that of an unknown viewer."""
    row = segment + 1
    if key is not None:
        hidden = jax.random.uniform(jax.random.fold_in(key, 1), row.shape) < dropout
        row = jnp.where(hidden, 0, row)
    return users[row]


class Batch(NamedTuple):
    """One training step: positions, and the videos that they and the negatives refer to."""

    used: Any  #: int32 [u] rows of the videos of this step; everything below points into it
    negatives: Any  #: int32 [config.negatives]
    log_expected: Any  #: float32 [config.negatives], see `loss`
    positions: Positions


def loss(
    params: TowerParams, content: Content, batch: Batch, key: jax.Array, config: TowerConfig
) -> jax.Array:
    """Sampled softmax of the next event, with the logQ correction for the sampling of negatives.

    Bengio and Senécal, "Adaptive importance sampling" (2008): the logit of a sampled video is
    reduced by the logarithm of its expected number among the samples.

    Args:
        params: the weights.
        content: that of all videos.
        batch: one training step.
        key: random key for dropout.
        config: of the towers.
    """
    used, negatives, log_expected, at = batch
    id_key, encode_key = jax.random.split(key)
    known = jax.random.uniform(id_key, (len(used), 1)) >= config.id_dropout
    videos = params["id"][used] * known
    videos = videos + content_vectors(params, Content(*(c[used] for c in content)))
    bias = params["bias"][used]
    z = encode(params, videos, at, key=encode_key, config=config).reshape(-1, config.dimension)
    target = at.target.reshape(-1)
    weight = at.weight.reshape(-1)
    right = (z * videos[target]).sum(axis=1) + bias[target]
    wrong = z @ videos[negatives].T + (bias[negatives] - log_expected)
    wrong = jnp.where(negatives[None] == target[:, None], -1e9, wrong)
    each = jnp.logaddexp(jax.nn.logsumexp(wrong, axis=1), right) - right
    mean: jax.Array = (each * weight).sum() / jnp.maximum(weight.sum(), 1e-9)
    return mean
