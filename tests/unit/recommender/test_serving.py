"""What is served follows the pointer and the catalogue, whatever goes wrong on the way."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.served import VIDEOS, Store, deploy, fail, served, shows
from tests.worlds import bundle, video
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.catalogue.models import VideoBody
from vireo.catalogue.store import Catalogue, UnknownVideo
from vireo.homes.clock import MovableClock
from vireo.homes.meter import LocalMeter
from vireo.ports import Ports, Table
from vireo.recommender import serving
from vireo.recommender.serving import NoModel, Serving

pytestmark = pytest.mark.usefixtures("patient")


def test_nothing_is_served_before_the_first_deployment(ports: Ports) -> None:
    serves = Serving(ports)
    with pytest.raises(NoModel):
        serves.view()
    deploy(ports, "b1")
    assert served(serves) == "b1"  # at once: whoever has nothing looks every time


def test_the_pointer_is_followed(ports: Ports, clock: MovableClock) -> None:
    deploy(ports, "b1")
    serves = Serving(ports)
    assert served(serves) == "b1"
    deploy(ports, "b2", seed=1)
    assert served(serves) == "b1"
    clock.advance(serving.EVERY)
    serves.view()
    assert served(serves) == "b2"
    deploy(ports, "b3", seed=2)
    clock.advance(serving.EVERY)
    serves.view()
    assert served(serves) == "b3"
    kept = {folder.name for folder in (Path(ports.scratch) / "bundles").iterdir()}
    assert kept == {"b2", "b3"}, "one to serve, one to go back to"
    pointer.rollback(ports.records)
    clock.advance(serving.EVERY)
    serves.view()
    assert served(serves) == "b2"


def test_a_refused_bundle_leaves_the_old_one(
    ports: Ports, clock: MovableClock, meter: LocalMeter
) -> None:
    deploy(ports, "b1")
    serves = Serving(ports)
    assert served(serves) == "b1"
    deploy(ports, "b2")
    data = bytearray(ports.blobs.read("bundles/b2/vectors.npy"))
    data[-1] ^= 1
    ports.blobs.write("bundles/b2/vectors.npy", bytes(data))
    for _ in range(5):
        clock.advance(serving.EVERY)
        assert served(serves) == "b1"
    assert meter.total("BundleRefused") == 1, "what is refused is not downloaded again"
    deploy(ports, "b3")
    clock.advance(serving.EVERY)
    serves.view()
    assert served(serves) == "b3"


def test_new_and_removed_videos_within_thirty_seconds(ports: Ports, clock: MovableClock) -> None:
    deploy(ports, "b1")
    serves, store = Serving(ports), Catalogue(ports)
    assert shows(serves, "v7")
    store.put_all(VIDEOS)
    store.delete("v7")
    store.put("fresh", VideoBody(title="A minute old"))
    store.put("v8", VideoBody.model_validate({"title": "Adults", "age_rating": 18}))
    clock.advance(30)
    assert not shows(serves, "v7")
    assert not shows(serves, "v8")
    assert shows(serves, "fresh")
    store.delete("fresh")
    store.put("v7", VideoBody(title="Back again"))
    clock.advance(30)
    assert shows(serves, "v7")
    assert not shows(serves, "fresh")
    with pytest.raises(UnknownVideo):
        store.get("fresh")
    with pytest.raises(UnknownVideo):
        store.delete("fresh")


def test_a_new_process_knows_what_came_before_it(ports: Ports, clock: MovableClock) -> None:
    deploy(ports, "b1")
    store = Catalogue(ports)
    store.put("one", VideoBody(title="One"))
    clock.advance(9 * 3600)  # other hours are other partitions
    store.put("two", VideoBody(title="Two"))
    clock.advance(5)
    serves = Serving(ports)
    assert shows(serves, "one")
    assert shows(serves, "two")


def test_windows_open_and_close_by_themselves(ports: Ports, clock: MovableClock) -> None:
    deploy(ports, "b1")
    serves, store = Serving(ports), Catalogue(ports)
    body = video(0, available_from=None).model_dump(exclude={"video_id"})
    window = {"available_from": "2023-11-14T22:15:00Z", "available_until": "2023-11-14T22:17:00Z"}
    store.put("timed", VideoBody.model_validate(body | window))
    seen = []
    for _ in range(10):  # from 22:13:20 on
        clock.advance(30)
        seen.append(shows(serves, "timed"))
    assert seen == [False] * 3 + [True] * 4 + [False] * 3


def test_a_failing_store_serves_what_was_known(
    ports: Ports, clock: MovableClock, meter: LocalMeter
) -> None:
    deploy(ports, "b1")
    store = Store(ports.records)
    serves = Serving(replace(ports, records=store))
    assert served(serves) == "b1"
    store.before = fail
    clock.advance(20)
    assert served(serves) == "b1"
    clock.advance(20)
    view, stale = serves.view()
    assert (view.snapshot.bundle.version, stale) == ("b1", ["overlay"])
    assert meter.total("OverlayFailed") == 2
    store.before = lambda: None
    serves.view()
    assert served(serves) == "b1"


def test_a_hanging_store_holds_nobody_up(
    ports: Ports, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(ports, "b1")
    store, gate = Store(ports.records), threading.Event()
    serves = Serving(replace(ports, records=store))
    assert served(serves) == "b1"
    monkeypatch.setattr(serving, "BRIEFLY", 0.01)
    monkeypatch.setattr(serving, "AT_MOST", 0.01)
    store.before = lambda: gate.wait(30)
    clock.advance(40)
    assert serves.view()[1] == ["overlay"]
    monkeypatch.setattr(serving, "AT_MOST", 30.0)
    clock.advance(40)  # the poll is still the one that began forty seconds ago
    assert serves.view()[1] == ["overlay"]
    gate.set()
    for _ in range(500):
        if not serves.view()[1]:
            break
        threading.Event().wait(0.01)
    else:
        pytest.fail("the poll never came back")


def test_no_request_fails_while_bundles_are_swapped(ports: Ports, clock: MovableClock) -> None:
    deploy(ports, "b0")
    serves, failures, seen = Serving(ports), [], set()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                snapshot = serves.view()[0].snapshot
                query = np.ones(17, np.float32)
                assert snapshot.index is not None
                rows, _ = snapshot.index.search(query, 5, snapshot.eligible(0, 17))
                assert len(snapshot.take(rows, "ids")[0]) == 5
                seen.add(snapshot.bundle.version)
                done.wait(0.001)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for j in range(1, 4):
        deploy(ports, f"b{j}", seed=j)
        for _ in range(400):
            clock.advance(serving.EVERY)
            if serves.view()[0].snapshot.bundle.version == f"b{j}":
                break
            threading.Event().wait(0.005)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert serves.view()[0].snapshot.bundle.version == "b3"
    assert len(seen) > 1


def test_a_crash_in_the_middle_of_a_poll_loses_nothing(ports: Ports, clock: MovableClock) -> None:
    """What one poll took in before it failed is in the overlay of the next."""
    deploy(ports, "b1")
    store = Store(ports.records)
    serves = Serving(replace(ports, records=store))
    serves.view()
    Catalogue(ports).put("fresh", VideoBody(title="A minute old"))
    calls = iter(range(1000))
    store.before = lambda: fail() if next(calls) >= 1 else None
    clock.advance(serving.EVERY)
    serves.view()
    store.before = lambda: None
    clock.advance(serving.EVERY)
    assert shows(serves, "fresh")


def test_settings_are_followed(ports: Ports, clock: MovableClock, meter: LocalMeter) -> None:
    deploy(ports, "b1")
    serves = Serving(ports)
    assert not serves.view()[0].controls.tuning.popularity_only
    ports.records.put(Table.SETTINGS, "tuning", "", {"popularity_only": True})
    ports.records.put(Table.SETTINGS, "campaigns", "x", {"nonsense": 1})
    clock.advance(serving.EVERY)
    assert serves.view()[0].controls.tuning.popularity_only
    assert meter.total("SettingRefused") == 1


def test_a_process_that_is_made_for_a_bundle_does_not_follow_the_pointer(
    ports: Ports, clock: MovableClock
) -> None:
    for version in ("b1", "b2"):
        bundles.publish(bundle(VIDEOS, version=version), ports.blobs)
        pointer.switch(ports.records, version, expect=pointer.current(ports.records))
    pinned = Serving(replace(ports, serves="b1"))
    assert pinned.view()[0].snapshot.bundle.version == "b1"
    Catalogue(ports).put("new", VideoBody(title="New"))
    clock.advance(60)
    assert pinned.view()[0].snapshot.bundle.version == "b1"
    assert pinned.view()[0].snapshot.row("new") >= 0, "but it follows the catalogue"
    with pytest.raises(NoModel):
        Serving(replace(ports, serves="b3")).view()
