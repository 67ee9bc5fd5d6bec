"""A bundle with what changed since, against the videos themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.worlds import NOW, VOCABULARY, D, bundle, catalogue, moment, video
from vireo import text
from vireo.catalogue.columns import encode
from vireo.catalogue.models import Status, Video
from vireo.keys import keys_of
from vireo.recommender.contents import ModelBundle
from vireo.recommender.loaded import NEWEST, Loaded
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.tower import ContentTower
from vireo.recommender.video_features import VIDEO_FEATURES
from vireo.vectors import has

#: Videos of all kinds of availability; v0 … v7 differ from the rest.
ODD: dict[int, dict[str, Any]] = {
    0: {"status": "private"},
    1: {"status": "deleted"},
    2: {"age_rating": 18},
    3: {"countries_allowed": ["DE"]},
    4: {"countries_blocked": ["DE", "FR"]},
    5: {"available_until": moment(1)},
    6: {"available_from": moment(-1)},
    7: {"available_from": moment(2), "available_until": moment(-2)},
}
#: What happened since: new, changed for better and worse, gone, come and gone.
CHANGES = [
    video(900, title="New and fine", published_at=moment(0.01)),
    video(901, title="New for adults", age_rating=18),
    video(902, title="New in France", countries_allowed=["FR"], published_at=None),
    video(903, status="deleted"),
    video(0, status="public"),
    video(20, status="deleted"),
    video(21, countries_blocked=["US"]),
    video(22, age_rating=12, title="Now with a much longer title than any that was there before"),
]
STATE: Mapping[str, Video] = {v.video_id: v for v in [*catalogue(60, ODD), *CHANGES]}


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot.of(bundle(catalogue(60, ODD)), CHANGES, at=NOW)


def may_see(seen: Video, country: str | None, rating: int) -> bool:
    if seen.status != Status.PUBLIC or seen.age_rating > rating:
        return False
    if seen.countries_allowed is not None and country not in seen.countries_allowed:
        return False
    if country is not None and country in seen.countries_blocked:
        return False
    started = seen.available_from is None or seen.available_from.timestamp() <= NOW
    return started and (seen.available_until is None or seen.available_until.timestamp() > NOW)


@pytest.mark.parametrize("country", ["DE", "FR", "US", None])
@pytest.mark.parametrize("rating", [0, 12, 17, 18])
def test_who_may_see_what(snapshot: Snapshot, country: str | None, rating: int) -> None:
    bits = snapshot.eligible(VOCABULARY.code("countries", country), rating)
    for video_id, seen in STATE.items():
        row = snapshot.row(video_id)
        shown = row >= 0 and bool(has(bits, np.array([row], np.int32))[0])
        assert shown == may_see(seen, country, rating), (video_id, country, rating)


def test_windows_are_judged_at_the_moment_of_the_snapshot() -> None:
    videos = [video(j, available_from=moment(10 - j)) for j in range(20)]
    for days in (12, 5.5, -3):
        snapshot = Snapshot.of(bundle(videos), at=NOW - 86400 * days)
        bits = snapshot.eligible(0, 21)
        rows = np.array([snapshot.row(f"v{j}") for j in range(20)], np.int32)
        assert has(bits, rows).tolist() == [10 - j >= days for j in range(20)]


def test_rows_are_found_and_new_ones_come_last(snapshot: Snapshot) -> None:
    ids = [v for v in STATE if v != "v903"]
    rows = snapshot.rows(keys_of(ids))
    assert sorted(rows.tolist()) == list(range(63))
    assert len(snapshot) == 63
    assert {i for i, r in zip(ids, rows, strict=True) if r >= 60} == {"v900", "v901", "v902"}
    assert snapshot.rows(keys_of(["v903", "nothing"])).tolist() == [-1, -1]


def test_columns_tell_the_latest(snapshot: Snapshot) -> None:
    rows = np.random.default_rng(0).permutation(63).astype(np.int32)
    names = ("ids", "titles", "category", "channel", "published", "status", "age_rating")
    columns = dict(zip(names, snapshot.take(rows, *names), strict=True))
    for j, video_id in enumerate(columns["ids"].tolist()):
        theirs = encode([STATE[video_id.decode()]], VOCABULARY)
        for name in names:
            np.testing.assert_equal(columns[name][j], getattr(theirs, name)[0], err_msg=name)


def test_new_videos_have_the_vectors_of_their_content(snapshot: Snapshot) -> None:
    tower = ContentTower.from_arrays(snapshot.bundle.group("tower"))
    new = STATE["v901"]
    one = encode([new], VOCABULARY)
    sketch = text.embed(text.describe(new.title, new.tags))[None]
    expected = tower.encode(one.category, one.language, one.duration, sketch)
    assert snapshot.index is not None
    rows = np.array([snapshot.row("v901"), 5, snapshot.row("v900")], np.int32)
    found = snapshot.index.take(rows)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[1], snapshot.bundle.arrays["vectors"][5])
    assert found.shape == (3, D + 1)


def test_given_texts_are_used() -> None:
    model, new = Loaded(bundle(catalogue(10))), video(99)
    given = text.embed("something else")
    one = Snapshot.of(model, [new], at=NOW, texts={"v99": given})
    two = Snapshot.of(model, [new.model_copy(update={"title": "something else"})], at=NOW)
    row = np.array([10], np.int32)
    assert one.index is not None
    assert two.index is not None
    np.testing.assert_allclose(one.index.take(row), two.index.take(row), rtol=1e-6)


def test_features_of_the_new_are_their_duration(snapshot: Snapshot) -> None:
    row, rows = snapshot.row("v900"), np.array([3, snapshot.row("v900"), 4], np.int32)
    features = snapshot.features(rows)
    assert row >= 60
    np.testing.assert_array_equal(features[[0, 2]], snapshot.bundle.arrays["features"][[3, 4]])
    known = dict(zip(VIDEO_FEATURES, features[1].tolist(), strict=True))
    assert known.pop("log_duration") == pytest.approx(np.log1p(960.0))
    assert np.isnan(list(known.values())).all()


def test_the_newest_come_first(snapshot: Snapshot) -> None:
    rows, published = snapshot.newest
    (ids,) = snapshot.take(rows, "ids")
    assert ids[0] == b"v902"  # no date: first seen now
    assert ids[1] == b"v900"
    assert (np.diff(published) <= 0).all()
    assert len(set(rows.tolist())) == len(rows)


@pytest.mark.parametrize("known", [0.0, 0.4, 1.0])
def test_the_newest_of_many(known: float) -> None:
    """More than are kept, less than are kept, and none; many were published at the same moment."""
    rng = np.random.default_rng(3)
    n = 2 * NEWEST
    published = np.where(rng.random(n) < known, NOW - 86_400.0 * rng.integers(0, 90, n), np.nan)
    made = bundle(catalogue(n))
    arrays = {**made.arrays, "columns/published": published}
    found = Loaded(ModelBundle(made.manifest, arrays, made.index)).newest.tolist()
    rows = [row for row in range(n) if not np.isnan(published[row])]
    assert found == sorted(rows, key=lambda row: (-published[row], row))[:NEWEST]


def test_an_empty_bundle_takes_new_videos() -> None:
    snapshot = Snapshot.of(bundle([]), [video(1)], at=NOW)
    assert snapshot.row("v1") == 0
    assert has(snapshot.eligible(0, 21), np.array([0], np.int32)).all()
    assert snapshot.take(np.array([0], np.int32), "ids")[0].tolist() == [b"v1"]


def test_places_among_the_popular(snapshot: Snapshot) -> None:
    model = snapshot.loaded
    germany = VOCABULARY.code("countries", "DE")
    popular = model.popular_in(germany)
    everyone = np.arange(60, dtype=np.int32)
    places = model.places(germany, everyone)
    assert places[popular].tolist() == list(range(len(popular)))
    assert np.isnan(np.delete(places, popular)).all()
    france = VOCABULARY.code("countries", "FR")  # without a list of its own
    np.testing.assert_array_equal(model.popular_in(france), model.popular_in(0))
    assert not model.has_popular(france)
