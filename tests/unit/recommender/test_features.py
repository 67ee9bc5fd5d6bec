"""Ranking features against their definitions, one candidate at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.worlds import NOW, VOCABULARY, bundle, catalogue, moment, video, viewer
from vireo.catalogue.columns import encode
from vireo.recommender.candidates import candidates
from vireo.recommender.features import CATEGORICAL, FEATURES, MOOD, NUMBERS, TASTE, features
from vireo.recommender.request import Request
from vireo.recommender.slate import SOURCES, Slate
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.video_features import VIDEO_FEATURES, video_features
from vireo.viewers.viewer import Viewer

WATCHED = (4, 9, 14, 19, 24, 13, 53)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    videos = catalogue(80, {5: {"category": None, "channel_id": None, "published_at": None}})
    return Snapshot.of(bundle(videos), [video(900, published_at=moment(2))], at=NOW)


@pytest.fixture(scope="module")
def asked(snapshot: Snapshot) -> tuple[Request, Slate, dict[str, Any]]:
    who = viewer(*WATCHED, age=33, country="DE", language="en")
    request = Request.of(snapshot, who, NOW, device="tv")
    slate = candidates(request)
    matrix = features(request, slate)
    assert matrix.shape == (len(slate), len(FEATURES))
    assert matrix.dtype == np.float32
    return request, slate, dict(zip(FEATURES, matrix.T, strict=True))


def number_of(snapshot: Snapshot, row: int) -> int:
    return int(snapshot.take(np.array([row], np.int32), "ids")[0][0][1:])


def share(history: list[int], same: list[bool], decay: float) -> float:
    weights = [decay**age for age in range(len(history) - 1, -1, -1)]
    return sum(w for w, s in zip(weights, same, strict=True) if s) / sum(weights)


def gap(same: list[bool]) -> float:
    since = [age for age, s in enumerate(reversed(same)) if s]
    return math.log1p(since[0]) if since else math.nan


def test_names() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    assert FEATURES[-len(CATEGORICAL) :] == CATEGORICAL
    assert FEATURES[: len(VIDEO_FEATURES)] == VIDEO_FEATURES
    assert len(NUMBERS) + len(CATEGORICAL) == len(FEATURES)


def test_viewer_and_video(snapshot: Snapshot, asked: tuple[Request, Slate, dict[str, Any]]) -> None:
    _, slate, given = asked
    history = list(WATCHED)
    for j, row in enumerate(slate.rows.tolist()):
        n = number_of(snapshot, row)
        category = [n != 5 and h % 4 == n % 4 for h in history]
        channel = [n != 5 and h % 10 == n % 10 for h in history]
        expected = {
            "category_taste": share(history, category, TASTE),
            "category_mood": share(history, category, MOOD),
            "category_gap": gap(category),
            "channel_taste": share(history, channel, TASTE),
            "channel_gap": gap(channel),
            "same_language": float(n % 2 == 1),
            "language_taste": share(history, [h % 2 == n % 2 for h in history], TASTE),
            "age": math.nan if n == 5 else math.log1p(2.0 if n == 900 else 30 + n % 300),
            "log_duration": math.log1p(60 + n),
            "category": 0 if n == 5 else n % 4 + 1,
            "language": n % 2 + 1,
        }
        for name, value in expected.items():
            got = float(given[name][j])
            assert got == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), (name, n)


def test_the_same_for_every_candidate(asked: tuple[Request, Slate, dict[str, Any]]) -> None:
    _, _, given = asked
    hour = 2 * math.pi * (NOW % 86400) / 86400
    expected = {
        "viewer_age": 33,
        "log_watched": math.log(8),
        "mean_watch_seconds": math.log(46),
        "hour_sin": math.sin(hour),
        "hour_cos": math.cos(hour),
        "weekday": 1,
        "log_pause": math.log(121),
        "country": 1,
        "viewer_language": 2,
        "device": 2,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(given[name], value, rtol=1e-5, err_msg=name)


def test_against_the_history(
    snapshot: Snapshot, asked: tuple[Request, Slate, dict[str, Any]]
) -> None:
    _, slate, given = asked
    weights = np.array([TASTE**age for age in range(len(WATCHED) - 1, -1, -1)])
    own = np.average([math.log1p(60 + h) for h in WATCHED], weights=weights)
    theirs = [math.log1p(60 + number_of(snapshot, r)) for r in slate.rows.tolist()]
    np.testing.assert_allclose(given["duration_against"], np.array(theirs) - own, atol=1e-5)


def test_retrieval(snapshot: Snapshot, asked: tuple[Request, Slate, dict[str, Any]]) -> None:
    request, slate, given = asked
    for source, name in (
        ("tower", "tower_rank"),
        ("neighbours", "neighbours_rank"),
        ("successors", "successors_rank"),
        ("popularity", "popularity_place"),
    ):
        scores = slate.scores[SOURCES.index(source)]
        places = {j: p for p, j in enumerate(np.argsort(-scores, kind="stable"))}
        for j, score in enumerate(scores.tolist()):
            expected = math.nan if math.isnan(score) else math.log1p(places[j])
            assert float(given[name][j]) == pytest.approx(expected, rel=1e-5, nan_ok=True)
    tower = slate.scores[SOURCES.index("tower")]
    np.testing.assert_allclose(given["tower_z"], (tower - tower.mean()) / tower.std(), atol=1e-5)
    popular = snapshot.loaded.popular_in(request.country).tolist()
    for row, place in zip(slate.rows.tolist(), given["country_place"].tolist(), strict=True):
        expected = math.log1p(popular.index(row)) if row in popular else math.nan
        assert place == pytest.approx(expected, rel=1e-5, nan_ok=True)
    counted = [bin(p).count("1") for p in slate.proposed.tolist()]
    assert given["proposals"].tolist() == counted


def test_without_history_or_profile(snapshot: Snapshot) -> None:
    request = Request.of(snapshot, Viewer(), NOW)
    slate = candidates(request)
    given = dict(zip(FEATURES, features(request, slate).T, strict=True))
    unknown = (
        "viewer_age",
        "mean_watch_seconds",
        "log_pause",
        "category_taste",
        "category_gap",
        "channel_taste",
        "channel_gap",
        "language_taste",
        "same_language",
        "duration_against",
        "neighbours_rank",
        "successors_rank",
    )
    for name in unknown:
        assert np.isnan(given[name]).all(), name
    for name in ("country", "viewer_language", "device", "log_watched"):
        assert not given[name].any(), name


def test_an_empty_slate(snapshot: Snapshot) -> None:
    request = Request.of(snapshot, viewer(*WATCHED), NOW)
    assert features(request, Slate.empty()).shape == (0, len(FEATURES))


def test_one_candidate_more_changes_no_other(snapshot: Snapshot) -> None:
    """All but ranks and z-scores are a matter between the viewer and one video."""
    request = Request.of(snapshot, viewer(*WATCHED), NOW)
    slate = candidates(request)
    some = slate.take(np.arange(0, len(slate), 3))
    relative = {j for j, n in enumerate(FEATURES) if n.endswith(("_rank", "_z", "_place"))}
    relative.discard(FEATURES.index("popularity_rank"))
    columns = [j for j in range(len(FEATURES)) if j not in relative]
    np.testing.assert_array_equal(
        features(request, slate)[::3][:, columns], features(request, some)[:, columns]
    )


def test_video_features_are_named() -> None:
    columns = encode(catalogue(5), VOCABULARY)
    made = video_features(columns, {"ctr": np.arange(5)})
    assert made[:, VIDEO_FEATURES.index("ctr")].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="clicks"):
        video_features(columns, {"clicks": np.arange(5)})
