"""Hot counters in a snapshot: features of new videos, and what many watch now."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tests.worlds import NOW, bundle, catalogue, video
from vireo.catalogue.counters import Counts, added, click_rate, rows
from vireo.keys import key_of, keys_of
from vireo.recommender import listings
from vireo.recommender.hot import MANY, Hot
from vireo.recommender.loaded import Loaded
from vireo.recommender.overlay import Overlay
from vireo.recommender.request import Request
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.video_features import VIDEO_FEATURES
from vireo.training.data.activity import Activity, counters
from vireo.viewers.viewer import Viewer

Given = Mapping[tuple[str, str], tuple[int, int, int, int, int]]


def counts(given: Given) -> Counts:
    """(positives, watches, likes, impressions, clicks) by video and country."""
    pairs = {(key_of(v), c.encode()): list(n) for (v, c), n in given.items()}
    return added(rows(pairs))


def snapshot(hot: Hot) -> Snapshot:
    model = Loaded(bundle(catalogue(60)))
    return Snapshot(model, Overlay.of(model, [video(900), video(901)], {}), NOW, hot)


def test_new_videos_get_what_is_known_of_them_and_the_bundle_s_keep_theirs() -> None:
    hot = Hot(since=counts({("v900", "DE"): (6, 9, 3, 40, 8), ("v900", ""): (1, 1, 0, 0, 0),
                            ("v3", "DE"): (100, 100, 10, 400, 50)}))  # fmt: skip
    known, without = snapshot(hot), snapshot(Hot())
    new = known.rows(keys_of(["v900", "v901"]))
    found = dict(zip(VIDEO_FEATURES, known.features(new).T.tolist(), strict=True))
    assert found["log_views"] == [pytest.approx(np.log1p(7)), pytest.approx(np.nan, nan_ok=True)]
    assert found["log_recent"][0] == pytest.approx(np.log1p(7))
    rate = 58 / 440
    assert found["ctr"][0] == pytest.approx((8 + 20 * rate) / (40 + 20))
    assert found["like_rate"][0] == pytest.approx((3 + 20 * 13 / 110) / (10 + 20))
    every = np.arange(60, dtype=np.int32)
    np.testing.assert_array_equal(known.features(every), without.features(every))
    np.testing.assert_array_equal(known.features(new)[1], without.features(new)[1])
    assert np.isnan([found["opener"][0], found["completion"][0], found["trend"][0]]).all()


def test_click_rates_are_shrunk_as_training_shrinks_them() -> None:
    rng = np.random.default_rng(1)
    kind, which = rng.choice([0, 0, 0, 1], 500), rng.integers(0, 6, 500)
    nothing = np.full(500, np.nan, np.float32)
    activity = Activity(
        np.zeros(500, np.int32), which.astype(np.int32), kind.astype(np.int8),
        np.arange(500.0), nothing, nothing, np.full(500, -1, np.int32), np.zeros(500, bool), 6,
    )  # fmt: skip
    by_video = np.zeros(6, counts({}).dtype)
    by_video["impressions"] = np.bincount(which[kind == 0], minlength=6)
    by_video["clicks"] = np.bincount(which[kind == 1], minlength=6)
    np.testing.assert_allclose(click_rate(by_video), counters(activity, 1e9).click_rate, rtol=1e-6)
    assert np.isnan(click_rate(by_video[:0])).all()


def test_what_many_watch_comes_first_where_they_watch_it() -> None:
    def liked(n: int) -> tuple[int, int, int, int, int]:
        return n, n, 0, 0, 0

    hot = Hot(lately=counts({
        ("v7", "DE"): liked(MANY), ("v8", "DE"): liked(MANY - 1), ("v8", "US"): liked(2),
        ("v9", "US"): liked(50), ("v900", "US"): liked(60), ("unknown", "US"): liked(99),
    }))  # fmt: skip
    view = snapshot(hot)

    def ids(country: str | None) -> list[str]:
        request = Request.of(view, Viewer(), NOW, limit=5, country=country)
        slate = listings.trending(request, None)
        return [i.decode() for i in view.take(slate.rows, "ids")[0].tolist()]

    assert ids("DE")[:4] == ["v7", "v900", "v9", "v8"]
    assert ids("US")[:4] == ["v900", "v9", "v8", "v7"]
    assert ids(None)[:4] == ["v900", "v9", "v8", "v7"]
    # Without counts the list is the bundle's.
    request = Request.of(snapshot(Hot()), Viewer(), NOW, limit=5)
    trending = view.bundle.arrays["trending"][:5].tolist()
    assert listings.trending(request, None).rows.tolist() == trending
