"""The served list is measured as it is served; a world by hand says what ordering costs in it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import worlds
from tests.planted import DAY, QUICK, RETRIEVAL, ring_log
from tests.tiny import tiny
from tests.worlds import NOW
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.homes.clock import MovableClock
from vireo.homes.local import home
from vireo.keys import keys_of
from vireo.ports import Table
from vireo.recommender import serving
from vireo.recommender.loaded import Loaded
from vireo.recommender.models import RecommendRequest
from vireo.recommender.service import Recommender
from vireo.recommender.slate import Slate
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering import controls as steering
from vireo.recommender.steering.campaigns import Campaign
from vireo.recommender.steering.controls import Controls
from vireo.recommender.steering.tuning import Tuning
from vireo.training.data import requests as protocols
from vireo.training.data.requests import Requests
from vireo.training.judging import served
from vireo.training.judging.served import Served, measure
from vireo.training.models import recipe
from vireo.training.models.assembly import assemble
from vireo.training.models.replay import Replay
from vireo.viewers.viewer import Event, EventType, Viewer, apply

QUIET = Controls(Tuning(explore_slots=0))


@cache
def crowd() -> Served:
    """Half of the viewers want the best video; half want the sixth, which the channel cap holds."""
    replay, requests = tiny([0, 5] * 60)
    return measure(replay, requests, controls=QUIET)


def test_ordering_costs_what_it_must_where_that_is_known() -> None:
    found = crowd()
    # a channel may have a quarter of 20 places: 0–4 stay, 5–9 go, and 10–24 are shown
    ids = [f"v{j}" for j in (*range(5), *range(10, 25))]
    assert (found.listed.lists == found_rows(found, ids)).all()
    kept, lost = 1.0, 1 / log2(7)  # NDCG of hits in the first and in the sixth place
    assert found.ranked.values["ndcg@10"].mean() == pytest.approx((kept + lost) / 2)
    assert found.listed.values["ndcg@10"].mean() == pytest.approx(kept / 2)
    cost = found.cost("ndcg@10")
    assert cost is not None
    assert cost.mean == pytest.approx(kept / (kept + lost) - 1)
    assert cost.low < cost.mean < cost.high < 0
    assert (cost.requests, cost.viewers) == (120, 120)
    hits = found.cost("hit@20")
    assert hits is not None
    assert hits.mean == pytest.approx(-0.5)


def found_rows(found: Served, ids: list[str]) -> Any:
    replay, _ = tiny([0])
    return replay.log.videos.rows(keys_of(ids))


def test_the_rule_that_costs_is_named() -> None:
    costs = {(c.rule, c.metric): c.interval for c in crowd().costs()}
    assert {rule for rule, _ in costs} == {"all", *served.WITHOUT}
    for metric in served.COSTS:
        whole, variety = costs["all", metric], costs["variety", metric]
        assert whole is not None
        assert variety is not None
        assert variety.mean == pytest.approx(whole.mean)
        for rule in ("freshness", "exploration"):
            other = costs[rule, metric]
            assert other is not None
            assert (other.mean, other.low, other.high) == (0, 0, 0)


def test_what_campaigns_cost_is_told_apart() -> None:
    """A video of a campaign at place 0 moves the best one from place 1 to 2."""
    replay, requests = tiny([0, 5] * 60)
    paid = Campaign(campaign_id="c", video_ids=("v59",), budget=1)
    tuning = Tuning(explore_slots=0, promoted_positions=(0,))
    found = measure(replay, requests, controls=Controls(tuning, campaigns=(paid,)))
    assert found.figures(found.listed)["promoted"] == 1 / 20
    costs = {(c.rule, c.metric): c.interval for c in found.costs()}
    ads, rest = costs["campaigns", "ndcg@10"], costs["all", "ndcg@10"]
    assert ads is not None
    assert ads.mean == pytest.approx(1 / log2(3) - 1)
    assert rest == crowd().cost("ndcg@10")
    variety = costs["variety", "ndcg@10"]
    assert variety is not None
    assert rest is not None
    assert variety.mean == pytest.approx(rest.mean)


def test_a_list_of_nothing_has_no_properties() -> None:
    replay, requests = tiny([0])
    request, _ = next(iter(replay.slates(requests, "ranked", limit=20)))
    found = served.properties(request, Slate.empty(), Slate.empty())
    assert found.keys() == served.PROPERTIES.keys()
    assert (found["channels"], found["categories"]) == (0, 0)
    assert np.isnan([v for k, v in found.items() if k not in ("channels", "categories")]).all()


def test_properties_of_a_list_by_hand() -> None:
    ranked, listed = (crowd().figures(kind) for kind in (crowd().ranked, crowd().listed))
    assert (ranked["channels"], listed["channels"]) == (11, 16)
    assert (ranked["categories"], listed["categories"]) == (0, 0)
    assert (ranked["displaced"], listed["displaced"]) == (0, pytest.approx(5 / 20))
    assert listed["negative"] == ranked["negative"] == 0  # the mean of 0 … -59 is -29.5
    assert (listed["promoted"], listed["explored"], listed["fresh"]) == (0, 0, 0)
    assert np.isnan(listed["distance"])  # there is no tower
    assert listed["coverage"] == pytest.approx(20 / 60)
    assert listed["reach"] == 1
    assert listed["gini"] == pytest.approx(40 / 60)  # a third has all, in equal parts


def test_explored_fresh_repeated_and_distant() -> None:
    videos = [
        worlds.video(
            j,
            title="Twice  told" if j in (0, 1) else f"Once {j}",
            published_at=worlds.moment(1 if j == 2 else 100),
        )
        for j in range(20)
    ]
    replay, requests = tiny([0])
    request, slate = next(iter(replay.slates(requests, "ranked", limit=20)))
    made = worlds.bundle(videos)
    request = replace(request, snapshot=Snapshot.of(made, at=NOW), tuning=Tuning())
    rows = made.columns.rows(keys_of(["v0", "v1", "v2", "v3"]))
    top = slate.top(4)
    listed = replace(
        top,
        rows=rows.astype(np.int32),
        score=np.array([2, 1, -1, -2], np.float32),
        slots=np.array([0, 0, 0, 2], np.uint8),
    )
    found = served.properties(request, listed, listed)
    assert found["repeated"] == 0.25
    assert found["fresh"] == 0.25
    assert found["explored"] == 0.25
    assert found["negative"] == 0.5
    vectors = made.arrays["vectors"][rows, :-1].astype(float)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [1 - units[i] @ units[j] for i in range(4) for j in range(i)]
    assert found["distance"] == pytest.approx(np.mean(pairs))


def test_the_order_of_requests_changes_nothing() -> None:
    replay, requests = tiny([0, 5, 12, 40] * 20)
    order = np.random.default_rng(0).permutation(len(requests))
    one, two = (measure(replay, r) for r in (requests, requests.take(order)))
    assert one.as_dict() == two.as_dict()
    assert (one.listed.lists[order] == two.listed.lists).all()
    assert one.figures(one.listed)["explored"] == pytest.approx(1 / 20)


def test_lists_of_other_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="other requests"):
        crowd().lists(crowd().requests.take(slice(0, 3)), 10)


@pytest.mark.parametrize(
    ("tuning", "arrays", "words"),
    [
        ({}, {}, "The ranker is not heard: the model has none"),
        ({"use_ranker": False}, {}, "The ranker is not heard: the tuning switches it off"),
        ({"popularity_only": True}, {}, "No model is asked"),
        ({}, {"ranker/x": np.ones(1), "blend": np.zeros((4, 6))}, "not heard: its weight"),
        (
            {},
            {"ranker/x": np.ones(1), "blend": np.eye(4, 6)},
            "not heard after pauses of 1 h–1 day, 1–7 days, ≥ 7 days: its weight",
        ),
    ],
)
def test_it_is_said_when_the_ranker_was_not_heard(
    tuning: dict[str, Any], arrays: dict[str, Any], words: str
) -> None:
    replay, _ = tiny([0], **arrays)
    notes = list(served._notes(replay.bundle, Controls(Tuning(**tuning))))
    assert words in notes[0]
    assert len(notes) == 1 + bool(tuning), "and what the tuning changes"


def test_a_ranker_that_is_heard_needs_no_words() -> None:
    replay, _ = tiny([0], **{"ranker/x": np.ones(1), "blend": np.ones((4, 6))})
    assert not list(served._notes(replay.bundle, Controls()))


@pytest.fixture(scope="module")
def lived() -> tuple[Replay, Requests]:
    """A log of people, a model of its past, and next events to ask it for.

    A video comes out every few hours, before and after the moment the model was made.
    """
    log = ring_log(n_users=80, n_videos=120, events=14, seed=4)
    begin = int(len(log) * 0.8)
    moment = float(np.nextafter(log.time[begin - 1], np.inf))
    published = moment + np.random.default_rng(1).uniform(-20, 10, 120) * DAY
    log = replace(log, videos=replace(log.videos, published=published))
    past = log.until(begin)
    fitted, _ = recipe.fit_retrieval(past, QUICK, seed=1)
    sources = replace(RETRIEVAL, fresh=20)
    bundle = assemble(past, None, fitted, version="b", now=moment, retrieval=sources)
    asked, _ = protocols.asked_between(log, begin, len(log), cap=3, seed=1)
    return Replay(bundle, log), asked.sample(60, 0)


def test_the_measured_list_is_what_the_api_answers(
    lived: tuple[Replay, Requests], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same viewer at the same moment, with a campaign and two variants of the tuning."""
    monkeypatch.setattr(serving, "BRIEFLY", 30.0)
    monkeypatch.setattr(serving, "AT_MOST", 30.0)
    replay, requests = lived
    log, clock = replay.log, MovableClock(float(requests.time.min()) - 60)
    ports = home(tmp_path, clock=clock).open("default")
    bundles.publish(replay.bundle, ports.blobs)
    pointer.switch(ports.records, "b", expect=None)
    steering.put(ports.records, "tuning", {"category_share": 0.4, "explore_slots": 2})
    campaign = {"campaign_id": "c", "video_ids": ["v7", "v8"], "budget": 9000, "cap": 9000}
    steering.put(ports.records, "campaigns", campaign)
    variants = [{"name": "a"}, {"name": "b", "tuning": {"fresh_boost": 2.0}}]
    steering.put(ports.records, "experiments", {"name": "x", "variants": variants})
    controls = steering.read(ports.records)
    found = measure(replay, requests, controls=controls)
    recommender = Recommender(ports, viewer_seconds=30.0)
    histories, devices = requests.histories(log), (None, *log.vocabulary.devices)
    seen: set[str] = set()
    for j in np.argsort(requests.time).tolist():
        user = int(requests.user[j])
        past = slice(histories.offsets[j], histories.offsets[j + 1])
        events = zip(log.videos.keys[histories.video[past]], histories.time[past], strict=True)
        (asked,) = replay._asked(requests.take(np.array([j])), 20)
        who = apply(
            Viewer(asked.viewer.profile),
            [Event(EventType.WATCH, int(key), float(at)) for key, at in events],
        )
        name = log.people.ids[user].decode()
        ports.records.put(Table.VIEWERS, name, "", {"viewer": who.pack()})
        clock.advance(float(requests.time[j]) - clock.now())
        device = devices[asked.device]
        context = {"device": device} if device else {}
        answer = recommender.recommend(
            RecommendRequest.model_validate({"user_id": name, "context": context}), "r"
        )
        assert answer.degraded == ()
        measured = [log.videos.ids[row].decode() for row in found.listed.lists[j].tolist()]
        assert [item.video_id for item in answer.items] == measured
        slots: list[str] = [item.slot for item in answer.items]
        for slot, what in (("promoted", "promoted"), ("explore", "explored")):
            assert slots.count(slot) / 20 == found.listed.values[what][j]
        seen |= {*slots, *answer.experiments.values()}
    assert seen == {"organic", "promoted", "explore", "a", "b"}


def test_nothing_is_shown_before_it_is_published(lived: tuple[Replay, Requests]) -> None:
    replay, requests = lived
    found = measure(replay, requests)
    lists = found.listed.lists
    there = lists >= 0
    moment = np.broadcast_to(requests.time[:, None], lists.shape)
    assert (replay.log.videos.published[lists[there]] <= moment[there]).all()
    late = replay.log.videos.published > requests.time.max()
    assert late.sum() > 5, "there are some to be kept back"
    assert np.nanmean(found.listed.values["fresh"]) > 0.05


def test_videos_of_tomorrow_do_not_hide_those_of_today() -> None:
    """However many are yet to come out, those that came out last are proposed."""
    videos = worlds.catalogue(
        900,
        {j: {"published_at": worlds.moment(1 if j < 3 else -2)} for j in range(700)},
    )
    made = worlds.bundle(videos)
    newest = made.columns.rows(keys_of(["v0", "v1", "v2"])).tolist()
    rows = Loaded(made).newest
    out = rows[made.columns.published[rows] <= NOW]
    assert set(out[:3].tolist()) == set(newest)
