"""Every rule, alone and together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.worlds import NOW, bundle, catalogue, moment, video, viewer
from vireo.keys import keys_of
from vireo.recommender.filtering import RULES, Filtering
from vireo.recommender.request import Request
from vireo.recommender.slate import SOURCES, Slate
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering.tuning import Tuning
from vireo.viewers.viewer import Viewer

KINDS: dict[int, dict[str, Any]] = {
    1: {"age_rating": 16},
    2: {"age_rating": 18},
    3: {"status": "private"},
    4: {"status": "deleted"},
    5: {"countries_allowed": ["US"]},
    6: {"countries_blocked": ["DE"]},
    7: {"available_until": moment(0.5)},
    8: {"available_from": moment(-0.5)},
    9: {"published_at": moment(-1)},
    10: {"published_at": moment(400)},
    11: {"published_at": None},
}


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """As of ten days ago: what has changed by itself since is for the rules to see."""
    return Snapshot.of(bundle(catalogue(30, KINDS)), [video(500)], at=NOW - 864000)


def everything(snapshot: Snapshot) -> Slate:
    n = len(snapshot)
    return Slate.of(
        np.arange(n, dtype=np.int32),
        np.zeros((len(SOURCES), n), np.float32),
        np.zeros(n, np.uint8),
        np.arange(n, dtype=np.float32),
    )


def removed(snapshot: Snapshot, reason: str, who: Viewer | None = None, **more: Any) -> set[str]:
    request = Request.of(snapshot, who or Viewer(), NOW, **more)
    slate = everything(snapshot)
    (ids,) = snapshot.take(slate.rows[~RULES[reason](request, slate)], "ids")
    return {i.decode() for i in ids.tolist()}


def test_watched(snapshot: Snapshot) -> None:
    assert removed(snapshot, "watched", viewer(20, 21, 500, 777)) == {"v20", "v21", "v500"}
    assert removed(snapshot, "watched") == set()


def test_excluded(snapshot: Snapshot) -> None:
    assert removed(snapshot, "excluded", exclude=keys_of(["v22", "nothing"])) == {"v22"}


@pytest.mark.parametrize(
    ("age", "country", "gone"),
    [
        (40, None, set()),
        (17, None, {"v2"}),
        (15, None, {"v1", "v2"}),
        (None, None, {"v2"}),
        (40, "FR", {"v1", "v2"}),  # a region that shows nothing above 12
        (40, "DE", set()),
    ],
)
def test_policy(snapshot: Snapshot, age: int | None, country: str | None, gone: set[str]) -> None:
    tuning = Tuning(region_rating={"FR": 12})
    assert removed(snapshot, "policy", viewer(age=age), country=country, tuning=tuning) == gone


@pytest.mark.parametrize(
    ("country", "gone"), [("DE", {"v5", "v6"}), ("US", set()), ("FR", {"v5"}), (None, {"v5"})]
)
def test_availability(snapshot: Snapshot, country: str | None, gone: set[str]) -> None:
    never = {"v3", "v4", "v7", "v8"}
    assert removed(snapshot, "availability", country=country) == gone | never


def test_freshness(snapshot: Snapshot) -> None:
    assert removed(snapshot, "freshness") == {"v9"}
    assert removed(snapshot, "freshness", tuning=Tuning(max_age_days=300)) == {"v9", "v10"}


def test_each_removal_remembers_the_first_reason(snapshot: Snapshot) -> None:
    who = viewer(1, 3, 20, age=10)
    request = Request.of(snapshot, who, NOW, country="DE", exclude=keys_of(["v20", "v25"]))
    before = everything(snapshot)
    after = Filtering()(request, before)
    reasons = {
        reason: {i.decode() for i in snapshot.take(rows, "ids")[0].tolist()}
        for reason, rows in after.removed.items()
    }
    assert reasons == {
        "watched": {"v1", "v3", "v20"},
        "policy": {"v2"},
        "availability": {"v4", "v5", "v6", "v7", "v8"},
        "freshness": {"v9"},
        "excluded": {"v25"},
    }
    gone = np.concatenate(list(after.removed.values()))
    assert sorted([*gone.tolist(), *after.rows.tolist()]) == before.rows.tolist()
    assert after.rows.tolist() == sorted(after.rows.tolist(), reverse=True), "best first"


def test_the_best_are_kept(snapshot: Snapshot) -> None:
    request = Request.of(snapshot, Viewer(), NOW, tuning=Tuning(keep_filtered=5))
    kept = Filtering()(request, everything(snapshot))
    all_kept = Filtering()(Request.of(snapshot, Viewer(), NOW), everything(snapshot))
    np.testing.assert_array_equal(kept.rows, all_kept.rows[:5])


def test_safety_holds_when_another_rule_breaks(snapshot: Snapshot) -> None:
    request = Request.of(snapshot, viewer(20, age=10), NOW, country="DE")
    slate = Filtering().otherwise(request, everything(snapshot))
    (ids,) = snapshot.take(slate.rows, "ids")
    shown = {i.decode() for i in ids.tolist()}
    assert not shown & {f"v{j}" for j in range(1, 9)}
    assert "v20" in shown
