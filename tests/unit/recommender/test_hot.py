"""Hot counters in a snapshot: features of new videos, and what many watch now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from tests.worlds import NOW, bundle, catalogue, video
from vireo.bundles.manifest import BundleRefused
from vireo.catalogue.counters import Counts, added, empty, rows
from vireo.catalogue.places import GROUPS
from vireo.keys import key_of, keys_of
from vireo.recommender import listings
from vireo.recommender.counted import Scale
from vireo.recommender.hot import MANY, Hot
from vireo.recommender.loaded import Loaded
from vireo.recommender.overlay import Overlay
from vireo.recommender.request import Request
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.video_features import VIDEO_FEATURES
from vireo.viewers.viewer import Viewer

#: (watches, likes, clicks), impressions by group of places, and views likewise.
Given = tuple[tuple[int, int, int], Mapping[int, int], Mapping[int, int]]


def counts(given: Mapping[tuple[str, str], Given]) -> Counts:
    """Counts by video and country."""
    pairs = {}
    for (video_id, country), (numbers, shown, seen) in given.items():
        placed = [[of.get(group, 0) for group in range(GROUPS)] for of in (shown, seen)]
        pairs[key_of(video_id), country.encode()] = [*numbers, *placed[0], *placed[1]]
    return added(rows(pairs))


SCALE = Scale(
    propensity=np.linspace(2, 0.2, GROUPS),
    weight=np.linspace(0.5, 3, GROUPS),
    like_rate=0.1,
    click_rate=0.2,
)


def snapshot(hot: Hot, scale: Scale | None = SCALE) -> Snapshot:
    made = bundle(catalogue(60))
    arrays = {name: a for name, a in made.arrays.items() if not name.startswith("scale/")}
    if scale is not None:
        arrays |= {f"scale/{name}": array for name, array in scale.arrays().items()}
    model = Loaded(replace(made, arrays=arrays))
    return Snapshot(model, Overlay.of(model, [video(900), video(901)], {}), NOW, hot)


def found(view: Snapshot) -> dict[str, list[float]]:
    """Features of the two new videos, by name."""
    new = view.rows(keys_of(["v900", "v901"]))
    return dict(zip(VIDEO_FEATURES, view.features(new).T.tolist(), strict=True))


SINCE = counts({
    ("v900", "DE"): ((9, 3, 8), {0: 30, 12: 10}, {0: 5, 3: 1}),
    ("v900", ""): ((1, 0, 0), {}, {3: 1}),
    ("v3", "DE"): ((100, 10, 50), {1: 400}, {1: 100}),
})  # fmt: skip


def test_new_videos_get_what_is_known_of_them_and_the_bundle_s_keep_theirs() -> None:
    known, without = snapshot(Hot.of(SINCE, empty())), snapshot(Hot())
    features = found(known)
    views = 5 * SCALE.weight[0] + 2 * SCALE.weight[3]
    assert features["log_views"] == [
        pytest.approx(np.log1p(views)),
        pytest.approx(np.nan, nan_ok=True),
    ]
    assert features["log_recent"][0] == pytest.approx(np.log1p(views))
    examined = 30 * SCALE.propensity[0] + 10 * SCALE.propensity[12]
    assert features["ctr"][0] == pytest.approx((8 + 20 * 0.2) / (examined + 20))
    assert features["like_rate"][0] == pytest.approx((3 + 20 * 0.1) / (10 + 20))
    every = np.arange(60, dtype=np.int32)
    new = known.rows(keys_of(["v900", "v901"]))
    np.testing.assert_array_equal(known.features(every), without.features(every))
    np.testing.assert_array_equal(known.features(new)[1], without.features(new)[1])
    assert np.isnan([features[n][0] for n in ("opener", "completion", "trend")]).all()


def test_a_bundle_of_before_there_were_scales_serves_on() -> None:
    """Every place counts the same then, and the overall rates are those since the bundle."""
    features = found(snapshot(Hot.of(SINCE, empty()), None))
    assert features["log_views"][0] == pytest.approx(np.log1p(7))
    assert features["ctr"][0] == pytest.approx((8 + 20 * 58 / 440) / (40 + 20))
    assert features["like_rate"][0] == pytest.approx((3 + 20 * 13 / 110) / (10 + 20))


def test_a_scale_of_other_groups_of_places_is_refused() -> None:
    made = bundle(catalogue(60))
    arrays = dict(made.arrays) | {"scale/weight": np.ones(GROUPS + 1)}
    with pytest.raises(BundleRefused, match=f"scale/weight.*groups than {GROUPS}"):
        replace(made, arrays=arrays).check()


def test_what_many_watch_comes_first_where_they_watch_it() -> None:
    def liked(n: int) -> Given:
        return (0, 0, 0), {}, {0: n - n // 2, 5: n // 2}

    hot = Hot.of(empty(), counts({
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
