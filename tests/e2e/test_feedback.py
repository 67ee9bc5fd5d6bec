"""What a viewer does changes what comes next: over HTTP, by the path that events really take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.simulate import Simulation
from tests.e2e.conftest import SIZE, Client, Laptop, serving
from tracking.app import follower
from vireo.homes.local.loop import Loop
from vireo.homes.local.mapping import EventSourceMapping
from vireo.letters import DeadLetters
from vireo.training.data.collected import read_home

#: What is promised is two seconds; a loaded test machine gets more.
SECONDS = 15.0


@pytest.fixture
def loop(laptop: Laptop) -> Iterator[Client]:
    """The API, and the consumer beside it, as ``make local`` has them."""
    mapping = EventSourceMapping(
        laptop.home.log, laptop.folder / "stream" / "tracking", follower(laptop.home)
    )
    loop = Loop(mapping.step, idle=0.02)
    loop.start()
    with serving(laptop) as client:
        yield client
    loop.stop()


def event(client: Client, number: int, user: str, video: str, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"e-{user}-{number}",
        "user_id": user,
        "video_id": video,
        "type": "watch",
        "timestamp": client.laptop.clock.now() - 60 + number,
        "watch_fraction": 0.9,
    } | more


def until(condition: Callable[[], bool]) -> float:
    """Wait until it holds; the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < SECONDS
        time.sleep(0.02)
    return time.monotonic() - began


def watched(client: Client, user: str) -> int:
    answer = client.call("GET", f"/v1/users/{user}")
    return int(answer.body["watched"]) if answer.status == 200 else 0


def test_the_next_recommendation_knows_what_was_watched(loop: Client) -> None:
    before = loop.recommend("new-here").ids
    seen = before[:3]
    for j, video in enumerate(seen):
        posted = loop.call("POST", "/v1/events", event(loop, j, "new-here", video))
        assert posted.status == 200, posted.body
        assert posted.body["accepted"] == 1
    until(lambda: watched(loop, "new-here") == 3)
    answer = loop.recommend("new-here")
    assert not set(seen) & set(answer.ids), "filters know it"
    assert set(answer.ids) - set(before), "candidates and features know it"
    titles = [loop.call("GET", f"/v1/videos/{v}").body["title"] for v in seen]
    reasons = {item["reason"] for item in answer.body["items"]}
    assert reasons & {f"Because you watched {title}" for title in titles}, "reasons know it"
    # Sent again, nothing changes; what is told as of this session is what the stream would bring.
    again = [event(loop, j, "new-here", video) for j, video in enumerate(seen)]
    assert loop.call("POST", "/v1/events", {"events": again}).body["accepted"] == 3
    meter = loop.laptop.meter
    until(lambda: meter.total("EventsRepeated") == 3)
    session = [
        {
            "video_id": v,
            "at": f"2024-12-18T00:00:{j:02d}Z",
            "fraction": 0.9,
        }
        for j, v in enumerate(seen)
    ]
    assert loop.laptop.clock.now() - 60 == 1_734_480_000.0  # 2024-12-18
    in_session = loop.recommend("another", session=session)
    organic = [i["video_id"] for i in answer.body["items"] if i["slot"] == "organic"]
    theirs = [i["video_id"] for i in in_session.body["items"] if i["slot"] == "organic"]
    assert organic == theirs


def test_a_bad_part_of_a_batch_and_poison_on_the_stream_hold_up_nothing(loop: Client) -> None:
    video = loop.recommend("new-here").ids[0]
    stream = loop.laptop.ports.stream
    assert stream.publish([("new-here", b"no event")]) == [None]
    batch = [event(loop, 1, "new-here", video), {"event_id": "bad"}]
    answer = loop.call("POST", "/v1/events", {"events": batch})
    assert [e["fate"] for e in answer.body["events"]] == ["accepted", "refused"]
    until(lambda: watched(loop, "new-here") == 1)
    [(_, arrival, reason)] = DeadLetters(loop.laptop.ports.blobs).all()
    assert (arrival.payload, arrival.key) == (b"no event", "new-here")
    assert reason.startswith("not JSON")


def test_what_many_watch_is_trending_there(loop: Client) -> None:
    top = loop.call("GET", "/v1/trending?limit=50").ids
    video = top[-1]
    batch = [event(loop, j, f"crowd-{j}", video, country="DE") for j in range(30)]
    assert loop.call("POST", "/v1/events", {"events": batch}).body["accepted"] == 30
    until(lambda: watched(loop, "crowd-29") == 1 and watched(loop, "crowd-28") == 1)
    until(lambda: loop.laptop.meter.total("EventsFollowed") == 30)
    loop.later(30)
    assert loop.call("GET", "/v1/trending?limit=5").ids[0] == video
    assert loop.call("GET", "/v1/trending?limit=5&country=DE").ids[0] == video


def test_another_tenant_s_viewer_of_the_same_name(loop: Client) -> None:
    stranger = loop.laptop.token(tenant="acme")
    video = loop.recommend("anna").ids[0]
    sent = loop.call("POST", "/v1/events", event(loop, 1, "anna", video), token=stranger)
    assert sent.status == 200
    until(lambda: loop.laptop.meter.total("EventsFollowed") == 1)
    assert loop.call("GET", "/v1/users/anna").status == 404
    assert loop.call("GET", "/v1/users/anna", token=stranger).body["watched"] == 1
    assert video in loop.recommend("anna").ids


def test_an_erased_person_s_events_under_way(loop: Client) -> None:
    video = loop.recommend("anna").ids[0]
    loop.call("POST", "/v1/events", event(loop, 1, "anna", video))
    until(lambda: watched(loop, "anna") == 1)
    assert loop.call("DELETE", "/v1/users/anna").status == 200
    assert loop.call("GET", "/v1/users/anna").status == 404
    late = event(loop, 2, "anna", loop.recommend("anna").ids[1])
    assert loop.call("POST", "/v1/events", late).body["accepted"] == 1
    until(lambda: loop.laptop.meter.total("EventsFollowed") == 2)
    assert watched(loop, "anna") == 0


def test_a_day_of_simulated_viewers_goes_all_the_way(laptop: Laptop) -> None:
    """Served, told, followed, collected, and reported from what was collected."""
    world = Simulation(laptop.home, laptop.clock, SIZE, bias=0.6)
    before = read_home(laptop.ports).report
    trial = world.serve(1, 60)
    assert sum(arm.requests for arm in trial.arms) == 60
    assert sum(arm.impressions for arm in trial.arms) == 60 * 20
    clicks = sum(arm.clicks for arm in trial.arms)
    assert clicks > 20
    after = read_home(laptop.ports).report
    assert after.types["click"] - before.types["click"] == clicks
    assert after.types["watch"] - before.types["watch"] == clicks
    assert laptop.meter.total("EventsFollowed") == 60 * 20 + 2 * clicks
    assert laptop.meter.total("DeadLetters") == 0
