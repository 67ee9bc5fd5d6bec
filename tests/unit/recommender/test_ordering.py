"""The final list: variety, freshness, exploration and promoted places."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds import NOW, bundle, catalogue, moment, video, viewer
from vireo.homes.clock import MovableClock
from vireo.homes.local import home
from vireo.keys import keys_of
from vireo.ports import Ports, Table
from vireo.recommender.ordering import Ordering, boosted, diverse
from vireo.recommender.ranking import kept
from vireo.recommender.request import Request
from vireo.recommender.slate import EXPLORE, FRESH, ORGANIC, PROMOTED, SOURCES, Slate
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering.campaigns import Budgets, Campaign
from vireo.recommender.steering.tuning import Tuning
from vireo.viewers.viewer import Viewer

PLAIN = Tuning(explore_slots=0, fresh_boost=0, category_share=1, channel_share=1)
CHANGES: dict[int, dict[str, Any]] = {
    7: {"category": None, "channel_id": None},
    9: {"published_at": moment(3)},
}


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    changes = [video(200, age_rating=18), video(201, status="deleted")]
    return Snapshot.of(bundle(catalogue(100, CHANGES)), changes, at=NOW)


def slate_of(snapshot: Snapshot, scores: dict[int, float]) -> Slate:
    """Videos by number with their scores, in order of row as the stages give them."""
    rows = snapshot.rows(keys_of(f"v{n}" for n in scores))
    order = np.argsort(rows)
    score = np.array(list(scores.values()), np.float32)[order]
    nan = np.full((len(SOURCES), len(rows)), np.nan, np.float32)
    return Slate.of(rows[order], nan, np.zeros(len(rows), np.uint8), score)


def ids(snapshot: Snapshot, slate: Slate) -> list[str]:
    return [i.decode() for i in snapshot.take(slate.rows, "ids")[0].tolist()]


def ask(snapshot: Snapshot, tuning: Tuning = PLAIN, who: Viewer | None = None, **more: Any) -> Any:
    return Request.of(snapshot, who or Viewer(), NOW, tuning=tuning, **({"limit": 10} | more))


def test_by_score(snapshot: Snapshot) -> None:
    slate = slate_of(snapshot, {j: -j for j in range(30)})
    ordered = Ordering()(ask(snapshot), slate)
    assert ids(snapshot, ordered) == [f"v{j}" for j in range(10)]
    assert ordered.slots is not None
    assert not ordered.slots.any()
    short = Ordering()(ask(snapshot, limit=100), slate)
    assert len(short) == 30


def slow_diverse(items: list[tuple[float, int, int, int]], k: int, a: float, b: float) -> list[int]:
    """The greedy rule as its docstring says it; items are (score, row, category, channel)."""
    ranked = sorted(items, key=lambda i: (-i[0], i[1]))
    chosen: list[tuple[float, int, int, int]] = []
    for item in ranked:
        same_category = sum(c[2] == item[2] != 0 for c in chosen)
        same_channel = sum(c[3] == item[3] != 0 for c in chosen)
        if (
            len(chosen) < k
            and same_category < max(1, math.ceil(a * k))
            and (same_channel < max(1, math.ceil(b * k)))
        ):
            chosen.append(item)
    rest = [i for i in ranked if i not in chosen]
    return [i[1] for i in (chosen + rest)[:k]]


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(st.integers(0, 99), st.integers(0, 9), max_size=40),
    st.integers(1, 30),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_diversity(
    snapshot: Snapshot, scores: dict[int, float], k: int, category: float, channel: float
) -> None:
    tuning = PLAIN.model_copy(update={"category_share": category, "channel_share": channel})
    request, slate = ask(snapshot, tuning), slate_of(snapshot, scores)
    categories, channels = snapshot.take(slate.rows, "category", "channel")
    items = list(
        zip(
            slate.score.tolist(),
            slate.rows.tolist(),
            categories.tolist(),
            channels.tolist(),
            strict=True,
        )
    )
    ours = slate.rows[diverse(request, slate, k)].tolist() if scores else []
    assert ours == slow_diverse(items, k, category, channel)


def test_shares_hold_in_a_whole_list(snapshot: Snapshot) -> None:
    tuning = PLAIN.model_copy(update={"category_share": 0.3, "channel_share": 0.2})
    slate = slate_of(snapshot, {j: float(j % 4 == 1) for j in range(100)})
    ordered = Ordering()(ask(snapshot, tuning), slate)
    categories, channels = snapshot.take(ordered.rows, "category", "channel")
    assert len(ordered) == 10
    assert max(Counter(categories.tolist()).values()) <= 3
    assert max(Counter(channels.tolist()).values()) <= 2


def test_new_videos_do_not_fill_what_a_limit_holds_back() -> None:
    """Three channels have the sixty best candidates; thirty of others are better than the new."""
    crowd = {j: {"channel_id": f"crowd{j % 3}", "category": None} for j in range(60)}
    others = {j: {"channel_id": f"own{j}", "category": None} for j in range(60, 100)}
    new = {j: {"published_at": moment(1)} for j in range(90, 100)}
    changes = {j: {**crowd.get(j, {}), **others.get(j, {}), **new.get(j, {})} for j in range(100)}
    snapshot = Snapshot.of(bundle(catalogue(100, changes)), at=NOW)
    slate = slate_of(snapshot, {j: 50.0 - j for j in range(100)})
    proposed = np.isin(slate.rows, snapshot.rows(keys_of(f"v{j}" for j in new)))
    slate = replace(slate, proposed=(proposed << FRESH).astype(np.uint8))
    request = ask(snapshot, Tuning(explore_slots=0), limit=20)
    shown = ids(snapshot, Ordering()(request, kept(request, slate)))
    assert shown == [*(f"v{j}" for j in range(15)), *(f"v{j}" for j in range(60, 65))]


def test_the_fresh_get_a_bonus(snapshot: Snapshot) -> None:
    scores = {j: float(j) for j in range(10)}
    slate = slate_of(snapshot, scores)
    tuning = PLAIN.model_copy(update={"fresh_boost": 0.5})
    gained = boosted(ask(snapshot, tuning), slate) - slate.score
    fresh = slate.rows == snapshot.row("v9")
    np.testing.assert_allclose(gained[fresh], 0.5 * np.std(list(scores.values())), rtol=1e-5)
    assert not gained[~fresh].any()
    later = PLAIN.model_copy(update={"fresh_boost": 0.5, "fresh_days": 2})
    assert not (boosted(ask(snapshot, later), slate) - slate.score).any()


def test_exploration(snapshot: Snapshot) -> None:
    tuning = PLAIN.model_copy(update={"explore_slots": 2})
    slate = slate_of(snapshot, {j: -j for j in range(40)})
    drawn: Counter[str] = Counter()
    for user in range(60):
        request = ask(snapshot, tuning, user_id=f"u{user}")
        one, two = Ordering()(request, slate), Ordering()(request, slate)
        assert ids(snapshot, one) == ids(snapshot, two), "the same request has the same answer"
        assert one.slots is not None
        explored = one.slots == EXPLORE
        assert explored.sum() == 2
        assert not explored[0]
        found = np.array(ids(snapshot, one))
        assert found[~explored].tolist() == [f"v{j}" for j in range(8)]
        drawn.update(found[explored].tolist())
    assert len(drawn) > 20, "different users explore different videos"
    assert drawn.keys() <= {f"v{j}" for j in range(10, 40)}
    short = Ordering()(ask(snapshot, tuning, limit=4), slate)
    assert ids(snapshot, short) == ["v0", "v1", "v2", "v3"]


def campaign(name: str = "c1", *videos: int, **more: Any) -> Campaign:
    given: dict[str, Any] = {
        "campaign_id": name,
        "video_ids": [f"v{j}" for j in videos or (50,)],
        "budget": 1000,
    }
    return Campaign(**(given | more))


def always(_: Campaign, __: Request) -> bool:
    return True


def promoted(snapshot: Snapshot, ordered: Slate) -> dict[int, str]:
    assert ordered.slots is not None
    found = ids(snapshot, ordered)
    return {j: found[j] for j in np.flatnonzero(ordered.slots == PROMOTED).tolist()}


def test_promoted_videos_take_their_places(snapshot: Snapshot) -> None:
    slate = slate_of(snapshot, {j: -j for j in range(30)})
    campaigns = [campaign("a", 50), campaign("b", 3), campaign("c", 51)]
    ordered = Ordering(campaigns, always)(ask(snapshot), slate)
    assert promoted(snapshot, ordered) == {2: "v50", 8: "v3"}
    organic = [i for i in ids(snapshot, ordered) if i not in {"v50", "v3"}]
    assert organic == ["v0", "v1", "v2", "v4", "v5", "v6", "v7", "v8"]
    assert ordered.campaigns == {snapshot.row("v50"): "a", snapshot.row("v3"): "b"}
    assert len(ordered) == 10
    few = Ordering(campaigns, always)(ask(snapshot, limit=2), slate)
    assert promoted(snapshot, few) == {}


def test_two_campaigns_never_show_one_video_twice(snapshot: Snapshot) -> None:
    slate = slate_of(snapshot, {j: -j for j in range(30)})
    ordered = Ordering([campaign("a", 50, 51), campaign("b", 50, 52)], always)(ask(snapshot), slate)
    assert promoted(snapshot, ordered) == {2: "v50", 8: "v52"}


def test_what_a_viewer_may_not_see_is_not_promoted(snapshot: Snapshot) -> None:
    slate = slate_of(snapshot, {j: -j for j in range(30)})
    for gone in (200, 201, 999, 60):
        ordered = Ordering([campaign("a", gone)], always)(
            ask(snapshot, who=viewer(60, age=12)), slate
        )
        assert promoted(snapshot, ordered) == {}, gone
    ordered = Ordering([campaign("a", 200, 53)], always)(ask(snapshot), slate)
    assert promoted(snapshot, ordered) == {2: "v53"}


@pytest.mark.parametrize(
    ("audience", "fits"),
    [
        ({}, True),
        ({"active": False}, False),
        ({"countries": ["DE", "FR"]}, True),
        ({"countries": ["US"]}, False),
        ({"countries": ["BR"]}, False),
        ({"languages": ["en"]}, False),
        ({"devices": ["tv"]}, True),
        ({"devices": ["phone"]}, False),
        ({"min_age": 30}, True),
        ({"min_age": 31}, False),
        ({"max_age": 30}, True),
        ({"max_age": 29}, False),
        ({"starts": moment(-1)}, False),
        ({"starts": moment(1), "ends": moment(-1)}, True),
        ({"ends": moment(0)}, False),
    ],
)
def test_the_audience(snapshot: Snapshot, audience: dict[str, Any], fits: bool) -> None:
    request = ask(snapshot, who=viewer(age=30, country="DE"), device="tv")
    assert campaign(**audience).is_for(request) == fits


def test_someone_unknown_is_in_no_narrow_audience(snapshot: Snapshot) -> None:
    request = ask(snapshot)
    for audience in ({"countries": ["BR"]}, {"min_age": 1}, {"max_age": 99}, {"devices": ["x"]}):
        assert not campaign(**audience).is_for(request)


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return home(tmp_path, clock=MovableClock(NOW)).open("default")


def shown(reserve: Callable[[Campaign, Request], bool], what: Campaign, requests: list[Any]) -> int:
    return sum(reserve(what, request) for request in requests)


@pytest.mark.parametrize("budget", [1, 7, 150, 1000])
def test_a_budget_is_spent_and_never_exceeded(
    ports: Ports, snapshot: Snapshot, budget: int
) -> None:
    what = campaign(budget=budget, cap=10**6)
    one, two = (Budgets(ports.records, ports.cache) for _ in range(2))  # two processes
    requests = [ask(snapshot, user_id=f"u{j % 5}") for j in range(700)]
    total = sum(
        shown(b.reserve, what, requests[i : i + 50]) for i in range(0, 700, 50) for b in (one, two)
    )
    assert total == min(budget, 1400)
    record = ports.records.get(Table.SETTINGS, "spent", "c1")
    assert record is not None
    assert shown(two.reserve, what, requests[:10]) == 0


def test_a_viewers_cap_is_kept_for_its_hours(tmp_path: Path, snapshot: Snapshot) -> None:
    clock = MovableClock(NOW)
    ports = home(tmp_path, clock=clock).open("default")
    what, budgets = campaign(cap=3, cap_hours=2), Budgets(ports.records, ports.cache)
    mine, theirs = ask(snapshot, user_id="me"), ask(snapshot, user_id="you")
    assert shown(budgets.reserve, what, [mine] * 10) == 3
    assert shown(budgets.reserve, what, [theirs] * 2) == 2
    clock.advance(2 * 3600 + 1)
    assert shown(budgets.reserve, what, [mine] * 10) == 3


def test_the_fallback_promotes_nothing(snapshot: Snapshot) -> None:
    slate = slate_of(snapshot, {j: -j for j in range(30)})
    ordered = Ordering([campaign()], always).otherwise(ask(snapshot), slate)
    assert ids(snapshot, ordered) == [f"v{j}" for j in range(10)]
    assert ordered.slots is not None
    assert (ordered.slots == ORGANIC).all()


def test_nothing_to_order(snapshot: Snapshot) -> None:
    tuning = Tuning(explore_slots=3)
    assert len(Ordering()(ask(snapshot, tuning), Slate.empty())) == 0
    alone = Ordering([campaign()], always)(ask(snapshot, tuning), Slate.empty())
    assert promoted(snapshot, alone) == {0: "v50"}
