"""A row that cannot be read costs that row, in both homes, and whoever removes it can."""

from __future__ import annotations

from typing import Any

import pytest

from tests.worlds import catalogue
from vireo import identity
from vireo.catalogue import updates
from vireo.catalogue.models import VideoBody
from vireo.catalogue.store import Catalogue, UnknownVideo
from vireo.catalogue.updates import Mark, Updates
from vireo.homes import items
from vireo.homes.meter import LocalMeter
from vireo.identity import Forbidden
from vireo.ports import UNREADABLE, Home, Item, Ports, Table
from vireo.recommender.steering import controls
from vireo.recommender.steering.tuning import Tuning
from vireo.recommender.users import UnknownUser, Viewers
from vireo.viewers import erasure, rows
from vireo.viewers.profile import Profile

LATER: Item = {"what": "a later version wrote"}


@pytest.fixture
def ports(home: Home, tenant: str) -> Ports:
    return home.open(tenant)


def damage(ports: Ports, table: Table, key: str, sort: str = "", item: Item = LATER) -> None:
    """Put a row that this version cannot read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items, "_FORMAT", 99)
        ports.records.put(table, key, sort, item)


def test_its_page_and_its_neighbours_can_be_read(ports: Ports) -> None:
    for sort in "abc":
        ports.records.put(Table.REGISTRY, "k", sort, {"is": sort})
    damage(ports, Table.REGISTRY, "k", "b")
    found = ports.records.query(Table.REGISTRY, "k").records
    assert [r.sort for r in found] == ["a", "b", "c"]
    assert list(found[1].item) == [UNREADABLE]
    assert "format 99" in found[1].item[UNREADABLE]
    assert ports.records.get(Table.REGISTRY, "k", "b") == found[1]
    assert found[1].version == 2
    ports.records.put(Table.REGISTRY, "k", "b", {"is": "well"}, expect=2)
    assert ports.records.query(Table.REGISTRY, "k").records[1].item == {"is": "well"}


@pytest.mark.parametrize("cut", [0, 3, 9])
def test_bytes_that_are_no_item(cut: int, ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = items.pack
    for home in ("local", "aws"):
        monkeypatch.setattr(f"vireo.homes.{home}.records.pack", lambda item: pack(item)[:cut])
    ports.records.put(Table.REGISTRY, "k", "", {"is": "cut"})
    found = ports.records.get(Table.REGISTRY, "k")
    assert found is not None
    assert list(found.item) == [UNREADABLE]


def test_a_video(ports: Ports, meter: LocalMeter) -> None:
    store, videos = Catalogue(ports), catalogue(20)
    store.put_all(videos)
    damage(ports, Table.VIDEOS, updates.shard("v7"), "v7")
    assert {v.video_id for v in store.all()} == {v.video_id for v in videos} - {"v7"}
    assert meter.total("VideoRefused") == 1
    with pytest.raises(UnknownVideo, match="cannot be read"):
        store.get("v7")
    store.delete("v7")
    assert ports.records.get(Table.VIDEOS, updates.shard("v7"), "v7") is None
    damage(ports, Table.VIDEOS, updates.shard("v8"), "v8")
    assert store.put("v8", VideoBody(title="Again")) == store.get("v8")


def test_a_change_of_the_catalogue(ports: Ports) -> None:
    store, reader = Catalogue(ports), Updates(ports.records, Mark())
    store.put_all(catalogue(20))
    damage(ports, Table.OVERLAY, updates.KEY, updates.row(8))
    reader.poll(ports.clock.now())
    assert (reader.refused, reader.news, len(reader.videos)) == (1, 19, 19)
    store.put("new", VideoBody(title="New"))
    reader.poll(ports.clock.now())
    assert (reader.refused, reader.news) == (1, 20)


def test_the_change_that_was_seen_last(ports: Ports) -> None:
    store, reader = Catalogue(ports), Updates(ports.records, Mark())
    store.put_all(catalogue(3))
    damage(ports, Table.OVERLAY, updates.KEY, updates.row(3))
    reader.poll(ports.clock.now())
    store.put("new", VideoBody(title="New"))
    reader.poll(ports.clock.now())
    assert (reader.refused, reader.news) == (1, 3)


def test_the_number_of_changes(ports: Ports) -> None:
    store, reader = Catalogue(ports), Updates(ports.records, Mark())
    store.put_all(catalogue(20))
    before = updates.latest(ports.records)
    damage(ports, Table.OVERLAY, updates.KEY, updates.HEAD)
    assert updates.latest(ports.records) == before
    store.put("new", VideoBody(title="New"))
    reader.poll(ports.clock.now())
    assert reader.news == updates.latest(ports.records).number == 21


@pytest.mark.parametrize("kind", controls.KINDS)
def test_a_setting(kind: str, ports: Ports) -> None:
    named = kind != "tuning"
    given: dict[str, dict[str, Any]] = {
        "tuning": {"explore_slots": 2},
        "campaigns": {"campaign_id": "good", "video_ids": ["v1"], "budget": 9},
        "experiments": {"name": "good", "variants": [{"name": "a"}, {"name": "b"}]},
    }
    for other, control in given.items():
        controls.put(ports.records, other, control)
    bad = "bad" if named else ""
    damage(ports, Table.SETTINGS, kind, bad)
    read = controls.read(ports.records)
    assert read.problems == (f"{kind}/bad" if named else kind,)
    assert (len(read.campaigns), len(read.experiments)) == (1, 1)
    assert read.tuning.explore_slots == (2 if named else Tuning().explore_slots)
    controls.remove(ports.records, kind, bad)
    assert not controls.read(ports.records).problems


@pytest.mark.parametrize("sort", [rows.PAST, rows.NOW])
def test_a_viewer(sort: str, ports: Ports, meter: LocalMeter) -> None:
    viewers = Viewers(ports)
    viewers.put_profile("anna", Profile(age=34))
    damage(ports, Table.VIEWERS, "anna", sort)
    with pytest.raises(ValueError, match="format 99"):
        viewers.read("anna")
    with pytest.raises(UnknownUser, match="it can be erased"):
        viewers.get("anna")
    assert meter.total("ViewerRefused") == 1
    with pytest.raises(UnknownUser, match="it can be erased"):
        viewers.put_profile("anna", Profile(age=35))
    assert viewers.erase("anna").record
    assert viewers.read("anna") is None
    assert viewers.put_profile("anna", Profile(age=35)).profile.age == 35


def test_a_note_of_erasure_erases_for_good(ports: Ports) -> None:
    note = erasure.note("anna", 5.0)
    damage(ports, note.table, note.key, note.sort)
    erased = erasure.erased_at(ports.records, "anna")
    assert erased is not None
    assert erased > ports.clock.now() + 365 * 86400


def test_a_client(home: Home, tenant: str) -> None:
    system = home.open("_system")
    for client in ("good", "bad"):
        identity.register_client(home, f"{tenant}-{client}", tenant)
    damage(system, Table.REGISTRY, "client", f"{tenant}-bad")
    assert tenant in identity.tenants(home)
    claims = {"sub": "me", "token_use": "access", "exp": home.open(tenant).clock.now() + 60}
    assert identity.Identity(home).caller(claims | {"client_id": f"{tenant}-good"})
    with pytest.raises(Forbidden):
        identity.Identity(home).caller(claims | {"client_id": f"{tenant}-bad"})
