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
from vireo.ports import Conflict, Ports, Table
from vireo.recommender.users import UnknownUser, Viewers
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import Viewer


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
    viewers.erase("anna")
    viewers.erase("anna")
    with pytest.raises(UnknownUser):
        viewers.get("anna")
    note = ports.records.get(Table.REGISTRY, "erased", f"{key_of('anna'):016x}")
    assert note is not None
    assert note.item == {"at": NOW}
