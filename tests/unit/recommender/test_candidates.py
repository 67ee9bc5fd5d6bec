"""Candidates and their scores, against the sources asked one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.worlds import NOW, bundle, catalogue, moment, video, viewer
from vireo.keys import keys_of
from vireo.recommender.candidates import (
    Candidates,
    Retrieval,
    blend_weights,
    candidates,
    encode_viewer,
)
from vireo.recommender.request import Request
from vireo.recommender.slate import (
    FRESH,
    NEIGHBOURS,
    OPENERS,
    POPULARITY,
    SOURCES,
    SUCCESSORS,
    TOWER,
    Slate,
    standardised,
)
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering.tuning import Tuning
from vireo.vectors import has
from vireo.viewers.viewer import Viewer

SMALL = Retrieval(tower=30, neighbours=20, successors=12, openers=10, popularity=15, fresh=5)
NEW = video(900, title="A minute old", published_at=moment(0.001), category="music")


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot.of(bundle(), [NEW, video(8, status="deleted")], at=NOW)


def ask(snapshot: Snapshot, who: Viewer, **more: Any) -> Request:
    return Request.of(snapshot, who, NOW, **more)


def proposed(slate: Slate, source: int) -> set[int]:
    return set(slate.rows[(slate.proposed >> source & 1) == 1].tolist())


def test_scores_are_those_of_the_sources(snapshot: Snapshot) -> None:
    request = ask(snapshot, viewer(*range(0, 120, 2), age=30, country="DE"), device="tv")
    slate = candidates(request, SMALL)
    query, arrays = encode_viewer(request), snapshot.bundle.arrays
    assert query is not None
    assert snapshot.index is not None
    vectors = np.concatenate([arrays["vectors"], snapshot.index.added])
    np.testing.assert_allclose(slate.scores[TOWER], vectors[slate.rows] @ query, rtol=1e-5)
    base = slate.rows < snapshot.n
    for name, source, length, decay in (
        ("neighbours", NEIGHBOURS, SMALL.neighbour_history, SMALL.neighbour_decay),
        ("successors", SUCCESSORS, SMALL.successor_history, SMALL.successor_decay),
    ):
        votes = np.zeros(len(snapshot))
        indptr, indices = arrays[f"{name}/indptr"], arrays[f"{name}/indices"]
        for age, row in enumerate(request.history[::-1][:length].tolist()):
            for at in range(indptr[row], indptr[row + 1]):
                votes[indices[at]] += arrays[f"{name}/weights"][at] * decay**age
        np.testing.assert_allclose(slate.scores[source, base], votes[slate.rows[base]], rtol=1e-5)
    rows = slate.rows[base]
    np.testing.assert_array_equal(slate.scores[OPENERS, base], arrays["opener_score"][rows])
    np.testing.assert_array_equal(slate.scores[POPULARITY, base], arrays["features"][rows, 2])
    assert np.isnan(slate.scores[NEIGHBOURS:, ~base]).all()
    assert (~base).sum() == 1


def test_every_source_proposes_its_best(snapshot: Snapshot) -> None:
    request = ask(snapshot, viewer(*range(0, 120, 2), age=30, country="DE"))
    slate, arrays = candidates(request, SMALL), snapshot.bundle.arrays
    eligible = snapshot.eligible(request.country, request.rating)
    free = [
        r
        for r in range(len(snapshot))
        if has(eligible, np.array([r], np.int32))[0] and r not in set(request.watched.tolist())
    ]
    everything = candidates(request, Retrieval(*[10**4] * 6))
    scores = dict(zip(everything.rows.tolist(), everything.scores.T.tolist(), strict=True))
    assert scores.keys() == set(free)
    for source, k in ((TOWER, 30), (NEIGHBOURS, 20), (SUCCESSORS, 12)):
        best = sorted(
            (r for r in free if source == TOWER or r < snapshot.n),
            key=lambda r: (-scores[r][source], r),
        )
        assert proposed(slate, source) == set(best[:k])
    for source, array, k in ((OPENERS, arrays["openers"], 10), (POPULARITY, None, 15)):
        listed = snapshot.loaded.popular_in(request.country) if array is None else array
        assert proposed(slate, source) == set([r for r in listed.tolist() if r in free][:k])
    assert proposed(slate, FRESH) == {snapshot.row("v900")}
    assert slate.rows.tolist() == sorted(set(slate.rows.tolist()))


def test_what_may_not_be_seen_is_no_candidate(snapshot: Snapshot) -> None:
    who = viewer(*range(100), age=30)
    request = ask(snapshot, who, exclude=keys_of(["v150", "v900", "nothing"]))
    rows = set(candidates(request).rows.tolist())
    hidden = {snapshot.row(f"v{j}") for j in (*range(100), 150, 900)}
    assert rows
    assert not rows & hidden
    child = ask(
        Snapshot.of(bundle(catalogue(50, {j: {"age_rating": 12} for j in range(49)})), at=NOW),
        viewer(age=9),
    )
    (ids,) = child.snapshot.take(candidates(child).rows, "ids")
    assert ids.tolist() == [b"v49"]


def test_the_order_of_the_catalogue_does_not_matter(snapshot: Snapshot) -> None:
    who = viewer(3, 7, 9, country="US")
    ours = candidates(ask(Snapshot.of(bundle(catalogue()), at=NOW), who))
    theirs = candidates(ask(Snapshot.of(bundle(catalogue()[::-1]), at=NOW), who))
    np.testing.assert_array_equal(ours.rows, theirs.rows)
    np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_a_viewer_never_seen(snapshot: Snapshot) -> None:
    slate = candidates(ask(snapshot, Viewer(), country="DE", device="phone"))
    assert len(slate) >= 100
    assert np.isnan(slate.scores[NEIGHBOURS]).all()
    assert not proposed(slate, NEIGHBOURS)
    assert np.isfinite(slate.score).all()


def test_the_score_is_the_blend_for_the_pause(snapshot: Snapshot) -> None:
    blend = np.random.default_rng(0).random((4, 1 + len(SOURCES))).astype(np.float32)
    retrieval = np.random.default_rng(1).random((4, len(SOURCES))).astype(np.float32)
    world = Snapshot.of(bundle(blend=blend, retrieval_blend=retrieval), at=NOW)
    for pause, bucket in ((10, 0), (3600, 1), (86400, 2), (10**7, 3)):
        request = ask(world, viewer(1, 2, 3, pause=pause))
        assert request.bucket == bucket
        np.testing.assert_array_equal(blend_weights(request), blend[bucket])
        slate = candidates(request)
        expected = retrieval[bucket] @ standardised(slate.scores)
        np.testing.assert_allclose(slate.score, expected, rtol=1e-6)
    assert ask(world, Viewer()).bucket == 3


def test_without_a_tower_the_rest_goes_on() -> None:
    world = Snapshot.of(bundle(without=["tower", "vectors"]), [NEW], at=NOW)
    slate = candidates(ask(world, viewer(1, 2, 3)))
    assert np.isnan(slate.scores[TOWER]).all()
    assert proposed(slate, NEIGHBOURS)
    assert world.row("v900") in proposed(slate, FRESH)
    bare = Snapshot.of(bundle(without=["tower", "vectors", "neighbours", "opener"]), at=NOW)
    assert len(candidates(ask(bare, viewer(1, 2, 3)))) > 0


def test_popularity_only(snapshot: Snapshot) -> None:
    watched = snapshot.loaded.popular_in(1)[:3]
    (ids,) = snapshot.take(watched, "ids")
    who = viewer(*(int(i[1:]) for i in ids), country="DE")
    request = ask(snapshot, who, tuning=Tuning(popularity_only=True))
    slate = Candidates()(request, Slate.empty())
    germany, world = snapshot.loaded.popular_in(1).tolist(), snapshot.loaded.popular_in(0).tolist()
    gone = {*watched.tolist(), snapshot.row("v8")}
    expected = [r for r in dict.fromkeys([*germany, *world]) if r not in gone]
    assert slate.top(999).rows.tolist() == expected
    fallback = Candidates().otherwise(request, Slate.empty())
    np.testing.assert_array_equal(fallback.rows, slate.rows)


def test_config_sets_the_sizes() -> None:
    assert Retrieval.of({}) == Retrieval()
    given = {"retrieval": {"tower": 7, "neighbour_decay": 0.5, "unheard_of": 1}}
    assert Retrieval.of(given) == Retrieval(tower=7, neighbour_decay=0.5)


def test_standardised() -> None:
    values = np.array([[1, 2, 3, np.nan], [5, 5, 5, 5], [np.nan] * 4], np.float32)
    z = standardised(values)
    np.testing.assert_allclose(z[0], [-np.sqrt(1.5), 0, np.sqrt(1.5), 0], rtol=1e-6)
    assert not z[1:].any()
    assert standardised(np.zeros((4, 0), np.float32)).shape == (4, 0)
