"""Who viewers say they are: stored beside what they did, and gone when they are erased."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import NOW, Faulty, viewer
from vireo.homes.clock import MovableClock
from vireo.homes.local import home
from vireo.keys import key_of
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Conflict, Ports, Table
from vireo.recommender.models import Erased
from vireo.recommender.steering.campaigns import cap_key
from vireo.recommender.users import UnknownUser, Viewers
from vireo.viewers import rows
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import Event, EventType, Viewer


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return home(tmp_path, clock=MovableClock(NOW)).open("default")


def store(ports: Ports, user_id: str, who: Viewer) -> None:
    ports.records.put(Table.VIEWERS, user_id, "", {"viewer": who.pack()})


def test_a_profile_changes_and_what_was_watched_stays(ports: Ports) -> None:
    store(ports, "anna", viewer(1, 2, 3, age=30))
    viewers = Viewers(ports)
    user = viewers.put_profile("anna", Profile(age=31, country="FR"))
    assert (user.profile.age, user.profile.country, user.watched) == (31, "FR", 3)
    assert viewers.get("anna") == user
    assert viewers.put_profile("new", Profile()).watched == 0
    with pytest.raises(UnknownUser):
        viewers.get("nobody")


def test_a_profile_and_the_stream_may_write_at_once(ports: Ports) -> None:
    left = iter(range(3))

    def before(name: str, args: tuple[Any, ...]) -> None:
        if name == "put" and next(left, None) is not None:
            store(ports, "anna", viewer(*range(next(counter))))

    counter = iter(range(1, 100))
    viewers = Viewers(replace(ports, records=Faulty(ports.records, before)))
    assert viewers.put_profile("anna", Profile(age=5)).watched == 3
    left = iter(range(10**6))
    with pytest.raises(Conflict):
        viewers.put_profile("anna", Profile(age=6))


def test_erasing_a_person(ports: Ports) -> None:
    store(ports, "anna", viewer(1, 2, 3))
    viewers = Viewers(ports)
    assert viewers.erase("anna").record
    assert not viewers.erase("anna").record
    with pytest.raises(UnknownUser):
        viewers.get("anna")
    note = ports.records.get(Table.REGISTRY, "erased", f"{key_of('anna'):016x}")
    assert note is not None
    assert note.item == {"at": NOW}


def test_erasing_says_how_much_there_was(ports: Ports) -> None:
    for name in ("summer", "winter", "unseen"):
        ports.records.put(Table.SETTINGS, "campaigns", name, {})
    for name in ("summer", "winter"):
        ports.cache.add(cap_key(name, "a@b"), seconds=60)
    letters = DeadLetters(ports.blobs)
    for position in range(3):
        letters.bury(Arrival("a@b", b"{", "shard", position, NOW), "not JSON")
    letters.bury(Arrival("a%40b", b"{", "shard", 9, NOW), "another's")
    counts = replace(viewer(1, 2), impressions=5, clicks=4, likes=3, skips=2)
    store(ports, "a@b", counts)
    video = Event(EventType.WATCH, key_of("v"), NOW)
    now = {"events": rows.pack_event(video), "settled": 0}
    ports.records.put(Table.VIEWERS, "a@b", rows.NOW, now)
    viewers = Viewers(ports)
    nothing = Erased(record=False, events=0, dead_letters=0, campaigns=0)
    assert viewers.erase("nobody") == nothing
    there = Erased(
        record=True, events=counts.watches + 5 + 4 + 3 + 2 + 1, dead_letters=3, campaigns=2
    )
    assert viewers.erase("a@b") == there
    assert viewers.erase("a@b") == nothing
    assert len([*letters.all()]) == 1


def test_a_record_that_cannot_be_read_is_erased(ports: Ports) -> None:
    ports.records.put(Table.VIEWERS, "anna", "", {"viewer": b"of another version"})
    erased = Viewers(ports).erase("anna")
    assert (erased.record, erased.events) == (True, None)
    assert ports.records.get(Table.VIEWERS, "anna") is None
