"""A person's data: all that an erasure would remove, and nothing that it would leave unsaid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from recommend.app import build
from tests.calls import call, claims, event_of
from tests.streams import one
from tests.witness import Touch, Witness
from tests.worlds import NOW, bundle, catalogue, viewer
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.events.tracking import Tracking
from vireo.homes.clock import MovableClock
from vireo.homes.limits import CALL_BYTES
from vireo.homes.local import LocalHome, home
from vireo.identity import register_client
from vireo.keys import key_of
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Ports, Table
from vireo.recommender import export
from vireo.recommender.models import Export
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering.campaigns import cap_key
from vireo.recommender.users import Viewers
from vireo.viewers import rows
from vireo.viewers.viewer import HISTORY_CAP, WATCHED_CAP, EventType

PATH = "/v1/users/anna/export"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[LocalHome]:
    made = home(tmp_path, clock=MovableClock(NOW))
    register_client(made, "machine", "default")
    yield made
    made.close()


@pytest.fixture
def ports(opened: LocalHome) -> Ports:
    return opened.open("default")


def live(ports: Ports, user: str = "anna", events: int = 70) -> None:
    """A life of a viewer: every kind of thing that is kept of them."""
    ports.records.put(Table.VIEWERS, user, "", {"viewer": viewer(1, 2, age=34).pack()})
    tracking = Tracking(ports)
    told = [one(n, user, video_id=f"v{3 + n}", timestamp=NOW - 100 + n) for n in range(events)]
    assert tracking.follow(told) is None
    last = one(events, user, video_id="unheard-of", type="dislike", timestamp=NOW)
    assert tracking.follow([last]) is None
    for name in ("summer", "winter", "unseen"):
        ports.records.put(Table.SETTINGS, "campaigns", name, {})
    for name in ("summer", "winter", "winter"):
        ports.cache.add(cap_key(name, user), seconds=60)
    letters = DeadLetters(ports.blobs)
    letters.bury(Arrival(user, b'{"type": 1}', "shard", 1, NOW), "not JSON")
    letters.bury(Arrival(user, b"\xff", "shard", 2, NOW), "not JSON")
    letters.bury(Arrival("other", b"{", "shard", 3, NOW), "another's")
    trial = {"name": "trial", "variants": [{"name": "a"}]}
    ports.records.put(Table.SETTINGS, "experiments", "trial", trial)


def personal(touches: set[Touch], how: str) -> set[tuple[str, ...]]:
    """Places that were touched so, but for those that are not one person's."""
    shared = {Table.SETTINGS, Table.REGISTRY}
    own = {t for t in touches if t.how == how and t.place[0] not in shared}
    return {(t.kind, *t.place) for t in own}


def test_what_is_exported_is_what_an_erasure_removes(ports: Ports) -> None:
    live(ports)
    showing, erasing = Witness(), Witness()
    shown = export.export(showing.watched(ports), "anna")
    Viewers(erasing.watched(ports)).erase("anna")
    read, gone = personal(showing.touches, "read"), personal(erasing.touches, "deleted")
    # The cache is told to forget a campaign that the person was never shown, as well.
    assert read == gone
    assert len({place for place in read if place[0] == "records"}) == 3
    assert len({place for place in read if place[0] == "blobs"}) == 2
    assert shown.rows == 3
    again = export.export(ports, "anna")
    assert again.erased_at is not None
    emptied: dict[str, Any] = {
        "rows": 0,
        "profile": None,
        "counts": None,
        "position": None,
        "campaigns": {},
    }
    emptied |= dict.fromkeys(("history", "events", "views", "event_keys"), ())
    emptied |= dict.fromkeys(("watched", "dead_letters"), ())
    changed = {"erased_at": again.erased_at}
    assert again == shown.model_copy(update=emptied | changed)


def test_it_says_all_that_there_is(ports: Ports) -> None:
    live(ports)
    names = export.names_in(Snapshot.of(bundle(catalogue(200)), at=NOW))
    shown = export.export(ports, "anna", names)
    assert shown.profile is not None
    assert shown.profile.age == 34
    assert shown.counts is not None
    assert (shown.counts.watches, shown.counts.skips) == (72, 1)
    ids = [f"v{n}" for n in range(1, 73)]
    assert [video.video_id for video in shown.history] == ids
    # Nobody knows the video that was disliked: its key is given, and no id.
    assert [video.video_id for video in shown.watched] == [*ids, None]
    assert shown.watched[-1].key == f"{key_of('unheard-of'):016x}"
    (last,) = shown.events
    assert (last.type, last.video_id) == (EventType.DISLIKE, None)
    assert last.at is not None
    assert last.at.timestamp() == NOW
    assert sorted(view.video_id or "" for view in shown.views) == sorted(ids[2:])
    assert {view.since.timestamp() for view in shown.views if view.since} == {NOW // 21600 * 21600}
    assert sorted(shown.event_keys) == sorted(f"{key_of(f'e{n}'):016x}" for n in range(71))
    assert shown.campaigns == {"summer": 1, "winter": 2}
    assert shown.experiments == {"trial": "a"}
    text, raw = shown.dead_letters
    assert (text.payload, text.payload_base64) == ('{"type": 1}', None)
    assert (raw.payload, raw.payload_base64) == (None, "/w==")
    assert shown.next is None
    assert shown.unreadable == ()
    assert export.NO_IDS not in shown.without
    unnamed = export.export(ports, "anna")
    assert {video.video_id for video in unnamed.watched} == {None}
    assert export.NO_IDS in unnamed.without


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(ports: Ports) -> None:
    live(ports)
    whole = export.export(ports, "anna")
    for sort, lost in (("seen", "event_keys"), ("now", "events"), ("", "history")):
        item = ports.records.get(Table.VIEWERS, "anna", sort)
        assert item is not None
        ports.records.put(Table.VIEWERS, "anna", sort, {"unreadable": "of tomorrow"})
        shown = export.export(ports, "anna")
        where = f"viewers/{sort}".rstrip("/")
        assert [(u.where, u.why) for u in shown.unreadable] == [
            (where, f"the row {sort!r} of a viewer: of tomorrow")
        ]
        assert len(getattr(shown, lost)) < len(getattr(whole, lost))
        assert (shown.rows, shown.campaigns) == (3, whole.campaigns)
        ports.records.put(Table.VIEWERS, "anna", sort, item.item)
    ports.cache.put(cap_key("unseen", "anna"), b"?", seconds=60)
    (letter, _) = DeadLetters(ports.blobs).names("anna")
    ports.blobs.write(letter, b"{")
    ports.records.put(Table.REGISTRY, "erased", f"{key_of('anna'):016x}", {"unreadable": "no"})
    shown = export.export(ports, "anna")
    assert {u.where for u in shown.unreadable} == {
        "cache/cap/unseen/anna",
        letter,
        "registry/erased",
    }
    assert len(shown.dead_letters) == 1
    assert (shown.erased_at, shown.next) == (None, None)
    assert export.export(ports, "anna", start=73).unreadable[-1].where == letter


def test_nobody_is_404_and_who_was_erased_is_not(opened: LocalHome, ports: Ports) -> None:
    api = build(opened)
    status, body = call(api, "GET", PATH)
    assert (status, body["error"]["code"]) == (404, "unknown_user")
    Viewers(ports).erase("anna")
    status, body = call(api, "GET", PATH)
    assert (status, body["erased_at"], body["rows"]) == (200, "2023-11-14T22:13:20Z", 0)


def test_the_route(opened: LocalHome, ports: Ports) -> None:
    live(ports)
    api = build(opened)
    status, body = call(api, "GET", PATH)
    assert (status, body["watched"][0]["video_id"]) == (200, None)
    bundles.publish(bundle(catalogue(200)), ports.blobs)
    pointer.switch(ports.records, "b1", expect=None)
    status, body = call(build(opened), "GET", PATH)
    assert (status, body["watched"][0]["video_id"]) == (200, "v1")
    assert Export.model_validate_json(orjson.dumps(body)).user_id == "anna"
    for token, expected in (
        (claims(sub="1", username="anna"), 200),
        (claims(sub="1", username="boris"), 403),
        (claims(scope="vireo/users.write"), 403),
    ):
        assert call(api, "GET", PATH, token=token)[0] == expected
    assert call(api, "GET", PATH, query={"start": "-1"})[0] == 422
    assert call(api, "GET", PATH, query={"start": "70"})[1]["watched"][0]["key"]


def test_an_answer_fits_and_more_can_be_had(
    opened: LocalHome, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that are as long, and take as much room in JSON, as ids can."""
    keys = np.arange(WATCHED_CAP, dtype=np.uint64)
    recent = keys[-HISTORY_CAP:]
    who = replace(viewer(), keys=recent, times=np.full(len(recent), NOW), watched=keys)
    ports.records.put(Table.VIEWERS, "anna", "", {"viewer": who.pack()})
    letters = DeadLetters(ports.blobs)
    for position in range(3):
        letters.bury(Arrival("anna", b"\xff" * 1_048_000, "shard", position, NOW), "not JSON")
    for position in range(3, 120):
        letters.bury(Arrival("anna", b'"' * 5_000, "shard", position, NOW), "not JSON")
    longest = {key: f"{key:05d}{chr(34) * 123}" for key in keys.tolist()}
    monkeypatch.setattr(export, "names_in", lambda _: lambda keys: map(longest.get, keys.tolist()))
    bundles.publish(bundle(catalogue(20)), ports.blobs)
    pointer.switch(ports.records, "b1", expect=None)
    api = build(opened)
    start: int | None = 0
    answers, videos, names = 0, list[Any](), list[str]()
    while start is not None:
        event = event_of("GET", PATH, query={"start": str(start)})
        result = api.resolve(event, None)
        assert len(orjson.dumps(result)) < CALL_BYTES
        body = orjson.loads(result["body"])
        videos += [int(video["key"], 16) for video in body["watched"]]
        names += [letter["name"] for letter in body["dead_letters"]]
        assert body["next"] is None or body["next"] > start
        start, answers = body["next"], answers + 1
    assert answers > 3
    assert videos == keys.tolist()
    assert names == letters.names("anna")


def test_a_settlement_under_way_is_waited_for(ports: Ports) -> None:
    """A query may see the rows of before and of after it."""
    live(ports)
    whole = export.export(ports, "anna")
    old = ports.records.get(Table.VIEWERS, "anna", rows.PAST)
    assert old is not None
    whole_row = old.item
    half = {**whole_row, "settled": whole_row["settled"] - 1}
    ports.records.put(Table.VIEWERS, "anna", rows.PAST, half)
    reads = iter(range(100))

    class Mended:
        def query(self, *args: Any, **options: Any) -> Any:
            if next(reads) == 2:
                ports.records.put(Table.VIEWERS, "anna", rows.PAST, whole_row)
            return ports.records.query(*args, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(ports.records, name)

    mended: Any = Mended()
    assert export.export(replace(ports, records=mended), "anna") == whole


def test_a_viewer_as_version_0_1_kept_them(ports: Ports) -> None:
    """All in one row, with the identities of the last events in it."""
    seen = np.array([[key_of("e1"), 5], [key_of("e2"), 6]], np.uint64).tobytes()
    item = {"viewer": viewer(1, 2).pack(), "position": "6", "seen": seen, "erased": None}
    ports.records.put(Table.VIEWERS, "anna", "", item)
    shown = export.export(ports, "anna")
    assert (shown.rows, shown.position, len(shown.history)) == (1, "6", 2)
    assert shown.event_keys == tuple(f"{key_of(name):016x}" for name in ("e1", "e2"))
