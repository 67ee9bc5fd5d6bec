"""Events on their way in: the fate of each, whoever sends it and whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from events.app import build
from tests.calls import call, claims, event_of
from vireo.api import Api
from vireo.events.intake import MOST, Intake
from vireo.events.models import BATCH, COLUMNS, EARLY, LATE, EventRow, Refusal, checked
from vireo.homes.aws.home import NoCache
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome, home
from vireo.homes.meter import LocalMeter
from vireo.identity import register_client
from vireo.ports import Unavailable
from vireo.settings import Settings
from vireo.viewers.viewer import Event, EventType

NOW = 1_700_000_000.0


def event(n: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{n}",
        "user_id": "anna",
        "video_id": "v1",
        "type": "watch",
        "timestamp": NOW,
    } | more


@pytest.fixture
def laptop(tmp_path: Path) -> LocalHome:
    made = home(tmp_path, clock=MovableClock(NOW), meter=LocalMeter())
    register_client(made, "machine", "default")
    register_client(made, "another", "elsewhere")
    return made


@pytest.fixture
def api(laptop: LocalHome) -> Api:
    return build(laptop)


def streamed(laptop: LocalHome) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (r.tenant, r.key, json.loads(r.payload))
        for shard in range(laptop.log.shards)
        for r in laptop.log.read(shard)
    ]


def post(api: Api, body: Any, **more: Any) -> tuple[int, dict[str, Any]]:
    token = claims(scope="vireo/events.write", exp=str(int(NOW) + 3600)) | more
    return call(api, "POST", "/v1/events", body, token=token)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"event_id": None}, "event_id"),
        ({"event_id": "a/b"}, "event_id"),
        ({"user_id": "a b"}, "user_id"),
        ({"video_id": ""}, "video_id"),
        ({"type": "exposure"}, "type"),
        ({"timestamp": "2023-11-14T22:13:20"}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
        ({"timestamp": NOW * 1000}, "timestamp"),
        ({"timestamp": float("nan")}, "timestamp"),
        ({"timestamp": NOW + EARLY + 1}, "timestamp"),
        ({"timestamp": NOW - LATE - 1}, "timestamp"),
        ({"watch_seconds": -1}, "watch_seconds"),
        ({"watch_seconds": float("inf")}, "watch_seconds"),
        ({"watch_fraction": 1.01}, "watch_fraction"),
        ({"position": 1.5}, "position"),
        ({"user_id": 5}, "user_id"),
        ({"type": 1}, "type"),
        ({"watch_seconds": "5"}, "watch_seconds"),
        ({"watch_fraction": True}, "watch_fraction"),
        ({"position": "3"}, "position"),
        ({"position": True}, "position"),
        ({"country": "de"}, "country"),
        ({"likes": 1}, "likes"),
    ],
)
def test_what_is_refused_names_its_field(more: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refused:
        checked(event(**more), NOW)
    assert refused.value.field == field


def test_one_and_many_are_refused_for_the_same(api: Api) -> None:
    wrong = event(watch_seconds="5")
    status, one = post(api, wrong)
    assert status == 422
    [problem] = one["error"]["fields"]
    assert problem["field"].endswith(".watch_seconds")
    status, many = post(api, {"events": [wrong, event(2, watch_seconds=5, position=3)]})
    assert (status, many["accepted"]) == (200, 1)
    refused = {"event_id": "e1", "fate": "refused", "field": "watch_seconds"}
    assert many["events"][0] == refused | {"reason": problem["expected"]}


def test_late_and_early_within_the_rules_keep_their_own_time() -> None:
    for time in (NOW + EARLY, NOW - LATE, NOW):
        assert checked(event(timestamp=time), NOW).timestamp == time
    dated = checked(event(timestamp="2023-11-14T23:13:20.5+01:00"), NOW)
    assert dated.timestamp == NOW + 0.5


def test_an_event_is_what_it_does_to_a_viewer() -> None:
    happened = checked(event(type="watch", watch_seconds=3, watch_fraction=0.5), NOW).happened()
    assert replace(happened, video=0) == Event(EventType.WATCH, 0, NOW, 3.0, 0.5)


def test_columns_are_the_fields() -> None:
    assert list(COLUMNS)[: len(EventRow.model_fields)] == list(EventRow.model_fields)
    assert set(COLUMNS.values()) == {"string", "double", "int", "map<string,string>"}
    assert [n for n, kind in COLUMNS.items() if kind == "double"] == [
        "timestamp",
        "watch_seconds",
        "watch_fraction",
    ]


def test_one_event(api: Api, laptop: LocalHome) -> None:
    status, body = post(api, event(request_id="r-1", slot="organic", position=3, variant="b"))
    assert status == 200, body
    assert body["accepted"] == 1
    assert body["events"][0]["fate"] == "accepted"
    [(tenant, key, row)] = streamed(laptop)
    assert (tenant, key) == ("default", "anna")
    assert (row["request_id"], row["slot"], row["position"]) == ("r-1", "organic", 3)


def test_one_bad_event_is_422_with_its_field(api: Api, laptop: LocalHome) -> None:
    for bad in (event(watch_fraction=2), event(timestamp=NOW + 4000)):
        status, body = post(api, bad)
        assert status == 422
        [found] = body["error"]["fields"]
        assert found["field"].split(".")[-1] in {"watch_fraction", "timestamp"}
    assert streamed(laptop) == []


def test_a_partly_bad_batch_keeps_its_good_part(api: Api, laptop: LocalHome) -> None:
    bad: list[Any] = [7, None, {}, event(3, type="sneeze"), {"event_id": "x" * 500}]
    status, body = post(api, {"events": [event(1), *bad, event(2)]})
    assert status == 200
    assert body["accepted"] == 2
    assert [f["fate"] for f in body["events"]] == ["accepted", *["refused"] * 5, "accepted"]
    assert body["events"][4]["event_id"] == "e3"
    assert body["events"][4]["field"] == "type"
    assert all(f["reason"] for f in body["events"][1:6])
    assert [row["event_id"] for _, _, row in streamed(laptop)] == ["e1", "e2"]


@pytest.mark.parametrize("body", [{"events": []}, {"events": [event()] * (BATCH + 1)}, [], 3, {}])
def test_what_is_no_batch(api: Api, body: Any) -> None:
    assert post(api, body)[0] in {400, 422}


def test_a_full_batch(api: Api, laptop: LocalHome) -> None:
    status, body = post(api, {"events": [event(j) for j in range(BATCH)]})
    assert (status, body["accepted"]) == (200, BATCH)
    assert [row["event_id"] for _, _, row in streamed(laptop)] == [f"e{j}" for j in range(BATCH)]


def test_an_end_user_speaks_for_themselves_only(api: Api, laptop: LocalHome) -> None:
    boris = {"sub": "s-1", "username": "boris"}
    assert post(api, event(), **boris)[0] == 403
    status, body = post(api, {"events": [event(1), event(2, user_id="boris")]}, **boris)
    assert (status, body["accepted"]) == (200, 1)
    assert body["events"][0]["field"] == "user_id"
    assert [key for _, key, _ in streamed(laptop)] == ["boris"]


def test_a_token_without_the_scope(api: Api) -> None:
    assert post(api, event(), scope="vireo/recommend")[0] == 403


def test_the_tenant_is_the_token_s(api: Api, laptop: LocalHome) -> None:
    assert post(api, event(), client_id="another", sub="another")[0] == 200
    assert [tenant for tenant, _, _ in streamed(laptop)] == ["elsewhere"]


class Shaky:
    """A stream that takes every second record, or none."""

    def __init__(self, none: bool) -> None:
        self._none = none

    def publish(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        return ["throttled" if self._none or j % 2 else None for j in range(len(records))]


def test_what_the_stream_does_not_take_is_told(laptop: LocalHome) -> None:
    intake = Intake(replace(laptop.open("default"), stream=Shaky(none=False)))
    taken = intake.take([event(1), event(2), 3, event(4)])
    assert [f.fate for f in taken.events] == ["accepted", "unavailable", "refused", "accepted"]
    assert isinstance(laptop.meter, LocalMeter)
    assert laptop.meter.total("Events", fate="unavailable") == 1


def test_a_stream_that_is_down_is_503(
    laptop: LocalHome, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(laptop.log, "append", broken)
    for body in (event(), {"events": [event(), 3]}):
        assert post(api, body)[0] == 503
    with pytest.raises(Unavailable):
        Intake(laptop.open("default")).take([event()])
    # With nothing good in it there is nothing to send again.
    assert post(api, {"events": [3]})[0] == 200


def batch(user: str, first: int, count: int) -> list[dict[str, Any]]:
    return [event(n, user_id=user) for n in range(first, first + count)]


def fates(body: dict[str, Any]) -> list[str]:
    return [one["fate"] for one in body["events"]]


def test_a_viewer_has_so_many_events_a_minute_and_others_have_theirs(laptop: LocalHome) -> None:
    api = build(laptop, 10)
    clock = laptop.clock
    assert isinstance(clock, MovableClock)
    assert fates(post(api, {"events": batch("anna", 1, 8)})[1]) == ["accepted"] * 8
    clock.advance(59.0)
    mixed = [*batch("anna", 9, 4), *batch("bert", 1, 3), event(13, type="sneeze")]
    status, body = post(api, {"events": [mixed[0], *mixed[4:], *mixed[1:4]]})
    assert status == 200
    expected = ["accepted", *["accepted"] * 3, "refused", "accepted", "limited", "limited"]
    assert fates(body) == expected
    assert "too many events of this viewer" in body["events"][-1]["reason"]
    # The first of them are on the stream, in order, and nothing else.
    assert [e["event_id"] for _, key, e in streamed(laptop) if key == "anna"] == [
        f"e{n}" for n in range(1, 11)
    ]
    again = [{"events": batch("anna", 11, 2)}, {"events": [*batch("anna", 11, 1), {}]}]
    for refused in (*again, event(11)):
        status, body = post(api, refused)
        assert (status, body["error"]["code"]) == (429, "too_many_requests")
    assert post(api, event(4, user_id="bert"))[0] == 200
    assert post(api, event(11), client_id="another", sub="another")[0] == 200, (
        "another tenant's anna"
    )
    clock.advance(1.0)
    assert fates(post(api, {"events": batch("anna", 11, 2)})[1]) == ["accepted"] * 2


def test_who_is_limited_is_told_when_to_come_again(laptop: LocalHome) -> None:
    api = build(laptop, 1)
    post(api, event(1))
    token = claims(scope="vireo/events.write", exp=str(int(NOW) + 3600))
    sent = event_of("POST", "/v1/events", event(2), token=token)
    answer = api.resolve(sent, None)
    assert answer["statusCode"] == 429
    assert answer["multiValueHeaders"]["Retry-After"] == ["60"]
    meter = laptop.meter
    assert isinstance(meter, LocalMeter)
    assert meter.total("Events", fate="limited") == 1


def test_without_a_cache_nobody_is_limited(laptop: LocalHome) -> None:
    ports = replace(laptop.open("default"), cache=NoCache())
    assert Intake(ports, 1).take(batch("anna", 1, 5)).accepted == 5


def test_the_limit_of_a_deployment_is_a_laptop_s() -> None:
    assert Settings.model_fields["viewer_events"].default == MOST
