"""The recipe's parts: blends, rankers, examples, settings, the run document and its steps."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.planted import QUICK, RETRIEVAL, ring_log
from vireo.recommender.features import CATEGORICAL, FEATURES
from vireo.recommender.slate import SOURCES
from vireo.recommender.trees import Trees
from vireo.training.data import requests
from vireo.training.models import ranker as ranking
from vireo.training.models import recipe
from vireo.training.models.assembly import assemble
from vireo.training.models.blend import fit_blend
from vireo.training.models.examples import Examples, collect
from vireo.training.models.item_to_item import NeighboursConfig
from vireo.training.models.recipe import RecipeConfig
from vireo.training.models.replay import Replay
from vireo.training.models.tower_model import TowerConfig

# -- the blend -----------------------------------------------------------------------------------


def slates_of(weights: NDArray[Any], q: int, k: int, seed: int) -> tuple[Any, Any, Any]:
    """Slates in which one candidate was taken, with probability softmax(scores @ weights)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(q, k, len(weights)))
    scores = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    chosen = (scores @ weights + rng.gumbel(size=(q, k))).argmax(1)
    relevant = np.arange(k) == chosen[:, None]
    return scores.reshape(q * k, -1).astype(np.float32), relevant.ravel(), np.arange(q + 1) * k


def test_the_blend_recovers_planted_weights() -> None:
    planted = np.array([1.2, 0.5, 0.0, 0.25])
    scores, relevant, offsets = slates_of(planted, 6000, 12, seed=1)
    bucket = np.arange(6000).astype(np.int8) % 4
    blend = fit_blend(scores, relevant, offsets, bucket)
    assert blend.shape == (4, 4)
    assert np.abs(blend - planted).max() < 0.1


def test_a_bucket_may_differ_and_a_rare_one_is_like_all() -> None:
    often, seldom = np.array([1.5, 0.0]), np.array([0.0, 1.5])
    parts = [
        slates_of(often, 3000, 10, 2),
        slates_of(seldom, 3000, 10, 3),
        slates_of(seldom, 3, 10, 4),
    ]
    scores = np.concatenate([p[0] for p in parts])
    relevant = np.concatenate([p[1] for p in parts])
    bucket = np.repeat([0, 1, 2], [3000, 3000, 3]).astype(np.int8)
    blend = fit_blend(scores, relevant, np.arange(len(bucket) + 1) * 10, bucket)
    assert np.abs(blend[0] - often).max() < 0.15
    assert np.abs(blend[1] - seldom).max() < 0.15
    assert np.abs(blend[2] - blend[3]).max() < 0.15, "three requests do not move a bucket far"
    assert 0.2 < blend[3].min() < blend[3].max() < 1.2, "without requests: the weights of all"


def test_the_blend_is_the_best_on_a_grid() -> None:
    """The obvious oracle: no weights of a fine grid explain the choices better."""
    scores, relevant, offsets = slates_of(np.array([0.8, 0.3]), 400, 8, seed=5)
    relevant |= np.random.default_rng(5).random(len(relevant)) < 0.1  # some have several targets
    bucket = np.zeros(400, np.int8)

    def likelihood(w: NDArray[Any]) -> float:
        total = 0.0
        for begin, end in itertools.pairwise(offsets.tolist()):
            y = scores[begin:end].astype(float) @ w
            chosen = np.exp(y[relevant[begin:end]]).sum()
            total += float(np.log(chosen / np.exp(y).sum()))
        return total

    fitted = fit_blend(scores, relevant, offsets, bucket)[3].astype(float)
    grid = [np.array(w) for w in itertools.product(np.arange(0, 1.6, 0.2), repeat=2)]
    assert likelihood(fitted) > max(map(likelihood, grid)) - 0.05


def test_a_source_that_misleads_gets_nothing() -> None:
    scores, relevant, offsets = slates_of(np.array([1.0, -1.0]), 1500, 8, seed=6)
    blend = fit_blend(scores, relevant, offsets, np.zeros(1500, np.int8))
    assert (blend >= 0).all()
    assert (blend[:, 1] < 1e-3).all()
    assert (fit_blend(scores[:0], relevant[:0], offsets[:1], np.zeros(0, np.int8)) == 1).all()


# -- the ranker ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples() -> Examples:
    """What retrieval returned for the later half of a log, fitted on the earlier."""
    log = ring_log(n_users=80, n_videos=70, events=14, seed=4)
    half = len(log) // 2
    past = log.until(half)
    fitted, _ = recipe.fit_retrieval(past, QUICK, seed=1)
    bundle = assemble(
        past, None, fitted, version="b", now=float(log.time[half]), retrieval=RETRIEVAL
    )
    following, _ = requests.asked_between(log, half, len(log), cap=3, seed=1)
    return collect(Replay(bundle, log), following)


def test_packed_trees_are_catboosts(examples: Examples) -> None:
    half = len(examples) // 2
    learn, judge = part(examples, range(half)), part(examples, range(half, len(examples)))
    config = ranking.RankerConfig(iterations=25, depth=4, patience=25)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ranking, "LEAST_SLATES", 10)
        ranker = ranking.fit(learn, judge, config, seed=2)
        again = ranking.fit(learn, judge, config, seed=2)
    assert 1 <= ranker.trees <= 25
    model = ranking.load(ranker.model)
    said = Trees(ranker.arrays).predict(examples.features)
    assert np.abs(said - model.predict(ranking.frame(examples.features))).max() < 1e-6
    assert np.ptp(said) > 0
    assert ranker.blend.shape == (4, 1 + len(SOURCES))
    assert ranker.importance.keys() == set(FEATURES)
    assert sum(ranker.importance.values()) == pytest.approx(100)
    for name, array in ranker.arrays.items():
        assert array.tobytes() == again.arrays[name].tobytes()
    arrays, document = ranking.as_artifact(ranker)
    back = ranking.of_artifact(arrays, orjson.loads(orjson.dumps(document)))
    assert back.model == ranker.model
    assert back.importance == ranker.importance


@pytest.mark.parametrize("told", [True, False])
def test_trees_are_heard_where_they_are_shown_to_help(*, told: bool) -> None:
    """Half of the pauses: what was watched shows in a feature, or (not told) in none."""

    def slates(seed: int) -> Examples:
        whole = made_up([20] * 400, seed)
        signal = whole.features[:, 3].reshape(400, 20) * (whole.bucket < 2)[:, None] * told
        noise = np.random.default_rng(seed + 100).gumbel(size=signal.shape)
        relevant = np.zeros(signal.shape, bool)
        relevant[np.arange(400), (3 * signal + noise).argmax(1)] = True
        whole.features[:, -len(CATEGORICAL) :] = 0
        whole.features[:, FEATURES.index("log_pause")] = np.repeat(whole.bucket, 20)
        people = np.arange(400, dtype=np.int32)
        return replace(whole, relevant=relevant.ravel(), user=people)

    config = ranking.RankerConfig(iterations=60, depth=4)
    ranker = ranking.fit(slates(3), slates(4), config, seed=1)
    heard = ranker.blend[:, 0] > 0
    assert heard.tolist() == [told, told, False, False]
    assert (ranker.blend[~heard, 1:] == ranker.retrieval_blend[~heard]).all()


@pytest.mark.parametrize(
    ("likelier", "higher", "heard"),
    [(0.1, 0.0, True), (0.1, 0.1, True), (0.1, -0.1, False), (0.0, 0.1, False), (-0.1, 0.1, False)],
)
def test_trees_help_when_nothing_surely_gets_worse(
    *, likelier: float, higher: float, heard: bool
) -> None:
    rng, q = np.random.default_rng(5), 400
    theirs = rng.normal(size=(q, 2))
    ours = theirs + rng.normal([likelier, higher], 0.2, (q, 2))
    assert ranking.helps(ours, theirs, np.arange(q)) == heard


def test_ndcg_of_slates_is_that_of_their_lists() -> None:
    whole = made_up([30, 5, 12], 3)
    scores = np.random.default_rng(2).random(len(whole.relevant))
    for j, value in enumerate(whole.ndcg(scores, 10)):
        rows = slice(whole.offsets[j], whole.offsets[j + 1])
        gain = whole.relevant[rows][np.argsort(-scores[rows])][:10]
        best = np.sort(whole.relevant[rows])[::-1][:10]
        discount = 1 / np.log2(np.arange(2, 12))
        expected = (gain * discount[: len(gain)]).sum() / (best * discount[: len(best)]).sum()
        assert value == pytest.approx(expected)


def test_too_few_slates_make_no_ranker(examples: Examples) -> None:
    few = part(examples, range(ranking.LEAST_SLATES - 1))
    ranker = ranking.fit(few, examples, ranking.RankerConfig(), seed=1)
    assert (ranker.arrays, ranker.trees, ranker.model) == ({}, 0, b"")
    assert (ranker.blend[:, 0] == 0).all()
    assert (ranker.blend[:, 1:] == ranker.retrieval_blend).all()


# -- examples ------------------------------------------------------------------------------------


def part(examples: Examples, slates: range) -> Examples:
    """Some consecutive slates."""
    rows = slice(int(examples.offsets[slates.start]), int(examples.offsets[slates.stop]))
    own = slice(slates.start, slates.stop)
    return Examples(
        examples.features[rows],
        examples.sources[rows],
        examples.relevant[rows],
        examples.offsets[slates.start : slates.stop + 1] - examples.offsets[slates.start],
        examples.bucket[own],
        examples.user[own],
        examples.found,
    )


def made_up(sizes: list[int], seed: int, found: float = 0.5) -> Examples:
    """Examples whose first feature numbers the candidates."""
    rng, m = np.random.default_rng(seed), sum(sizes)
    features = rng.normal(size=(m, len(FEATURES))).astype(np.float32)
    features[:, 0] = np.arange(m)
    return Examples(
        features,
        rng.normal(size=(m, len(SOURCES))).astype(np.float32),
        (rng.random(m) < 0.2).astype(np.float32),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        rng.integers(0, 4, len(sizes)).astype(np.int8),
        rng.integers(0, 9, len(sizes)).astype(np.int32),
        found,
    )


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    negatives=st.integers(1, 20),
    seed=st.integers(0, 5),
)
def test_thinning_keeps_all_that_is_relevant(sizes: list[int], negatives: int, seed: int) -> None:
    whole = made_up(sizes, seed)
    thin = whole.thinned(negatives, seed)
    assert len(thin) == len(whole)
    for j, size in enumerate(sizes):
        before = slice(whole.offsets[j], whole.offsets[j + 1])
        after = slice(thin.offsets[j], thin.offsets[j + 1])
        good = whole.relevant[before]
        assert thin.relevant[after].sum() == good.sum()
        assert after.stop - after.start == good.sum() + min(negatives, size - good.sum())
        kept = thin.features[after, 0].astype(int)
        assert (np.diff(kept) > 0).all(), "in their order, and none twice"
        assert set(kept) <= set(range(before.start, before.stop))
        assert (thin.relevant[after] == whole.relevant[kept]).all()
        assert (thin.sources[after] == whole.sources[kept]).all()
    again = whole.thinned(negatives, seed)
    assert again.features.tobytes() == thin.features.tobytes()


def test_joined_examples_are_one_after_the_other() -> None:
    parts = [
        made_up([3, 1, 4], 1, found=0.5),
        made_up([], 2, found=0.0),
        made_up([5], 3, found=0.1),
    ]
    joined = Examples.joined(parts)
    assert joined.offsets.tolist() == [0, 3, 4, 8, 13]
    assert joined.group.tolist() == [0] * 3 + [1] + [2] * 4 + [3] * 5
    assert joined.found == pytest.approx((3 * 0.5 + 0.1) / 4)
    for name in ("features", "sources", "relevant", "bucket", "user"):
        whole = np.concatenate([getattr(p, name) for p in parts])
        assert (getattr(joined, name) == whole).all()
    assert part(joined, range(3)).features.tobytes() == parts[0].features.tobytes()
    assert len(Examples.joined([made_up([], 1), made_up([], 2)])) == 0


# -- settings, the run document, and steps -------------------------------------------------------


def test_overrides_of_the_recipe() -> None:
    assert RecipeConfig.of({}) == RecipeConfig()
    config = RecipeConfig.of({"requests": 7, "tower": {"epochs": 5}, "ranker": {"depth": 3}})
    assert config.requests == 7
    assert config.cap == RecipeConfig().cap
    for log in (ring_log(), ring_log(n_users=60, n_videos=20, events=18)):
        assert config.towers(log) == replace(TowerConfig.for_log(log), epochs=5)
        assert config.trees(log) == replace(ranking.RankerConfig.for_log(log), depth=3)
        assert config.item_to_item(log) == NeighboursConfig.for_log(log)
        assert config.sources(log) == RecipeConfig().sources(log)
        fewer = RecipeConfig.of({"retrieval": {"tower": 9}, "tower": None})
        assert fewer.sources(log) == replace(RecipeConfig().sources(log), tower=9)
        assert fewer.towers(log) == TowerConfig.for_log(log)
    assert QUICK.towers(ring_log()) == QUICK.tower


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"requestss": 1}, "no setting requestss"),
        ({"overrides": {}}, "no setting overrides"),
        ({"tower": {"layers": 3}}, r"no setting tower\.layers"),
        ({"neighbours": {"x": 3}}, r"no setting neighbours\.x"),
        ({"ranker": {"loss_function": "x"}}, r"no setting ranker\.loss_function"),
    ],
)
def test_settings_that_there_are_not(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RecipeConfig.of(overrides)
