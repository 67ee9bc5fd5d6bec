"""What was removed or restricted is never answered again, whatever time and snapshots do."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.served import VIDEOS, Store, deploy, fail, shows
from tests.worlds import NOW, video
from vireo.catalogue import updates
from vireo.catalogue.models import VideoBody
from vireo.catalogue.store import Catalogue, UnknownVideo
from vireo.homes.clock import MovableClock
from vireo.homes.meter import LocalMeter
from vireo.ports import Ports, Table
from vireo.recommender import serving
from vireo.recommender.models import Context
from vireo.recommender.service import Recommender
from vireo.recommender.serving import NoModel, Serving
from vireo.vectors import has

pytestmark = pytest.mark.usefixtures("patient")
DAY = 86_400.0


@pytest.fixture
def ports(ports: Ports) -> Ports:
    Catalogue(ports).put_all(VIDEOS)
    return ports


def body(number: int, **fields: Any) -> VideoBody:
    given = video(number).model_dump(mode="json", exclude={"video_id"}) | fields
    return VideoBody.model_validate(given)


def restrict(ports: Ports) -> None:
    """One removal, and one of each restriction."""
    store = Catalogue(ports)
    store.delete("v1")
    store.put("v2", body(2, status="private"))
    store.put("v3", body(3, countries_blocked=["DE"]))
    store.put("v4", body(4, countries_allowed=["FR"]))
    store.put("v5", body(5, age_rating=18))
    store.put("v6", body(6, available_until="2023-11-14T23:00:00Z"))
    store.put("v7", body(7, available_from="2100-01-01T00:00:00Z"))


def hidden(serving_: Serving, country: str = "DE", rating: int = 17) -> set[str]:
    """The videos of the catalogue that are not shown."""
    snapshot = serving_.view()[0].snapshot
    code = snapshot.bundle.vocabulary.code("countries", country)
    rows = np.array([snapshot.row(v.video_id) for v in VIDEOS], np.int32)
    shown = has(snapshot.eligible(code, rating), rows)
    return {v.video_id for v, yes in zip(VIDEOS, shown.tolist(), strict=True) if not yes}


ALL = {f"v{j}" for j in range(1, 8)}


@pytest.mark.parametrize(("days", "marked"), [(1, True), (400, True), (1, False), (34, False)])
def test_the_news_are_as_old_as_the_bundle(
    ports: Ports, clock: MovableClock, days: int, marked: bool
) -> None:
    """``marked``: the bundle says which change it knows; not so those of version 0.1."""
    config = {"changes": list(updates.latest(ports.records))} if marked else {}
    deploy(ports, "b1", config=config)
    running = Serving(ports)
    assert not hidden(running)
    restrict(ports)
    for _ in range(10):
        clock.advance(days * DAY / 10)
        assert hidden(running) == ALL
        assert hidden(Serving(ports)) == ALL
    assert hidden(Serving(ports), "FR") == ALL - {"v3", "v4"}
    assert hidden(Serving(ports), "DE", 18) == ALL - {"v5"}


def test_a_bundle_of_version_0_1_does_not_outlive_the_changes_that_it_needs(
    ports: Ports, clock: MovableClock
) -> None:
    deploy(ports, "b1")
    running = Serving(ports)
    restrict(ports)
    for _ in range(36):
        clock.advance(DAY)
        assert hidden(running) == ALL
    with pytest.raises(NoModel, match=r"b1: changes without numbers.* have expired"):
        Serving(ports).view()
    deploy(ports, "b2", config={"changes": list(updates.latest(ports.records))})
    assert Serving(ports).view()[0].snapshot.bundle.version == "b2"


def test_a_bundle_that_knows_a_change_does_not_read_it(ports: Ports) -> None:
    deploy(ports, "b1", config={"changes": list(updates.latest(ports.records))})
    assert not len(Serving(ports).view()[0].snapshot.overlay.rows)


def test_a_blocked_country_that_the_bundle_does_not_know_is_not_any_country(
    ports: Ports, clock: MovableClock
) -> None:
    deploy(ports, "b1")
    serves = Serving(ports)
    assert "v8" not in hidden(serves, "JP")
    Catalogue(ports).put("v8", body(8, countries_blocked=["JP"]))
    clock.advance(30)
    assert "v8" in hidden(serves, "JP")
    assert "v8" not in hidden(serves, "DE")


@pytest.mark.parametrize("jump", [31.0, 3600.0, 40 * DAY])
def test_a_restored_process_looks_before_it_answers(
    ports: Ports, clock: MovableClock, jump: float
) -> None:
    """In a snapshot of a process, monotonic time stands still; only the time of day goes on."""
    deploy(ports, "b1", config={"changes": list(updates.latest(ports.records))})
    restored = Serving(ports)
    assert not hidden(restored)
    Catalogue(ports).delete("v1")
    clock.jump(jump)
    assert hidden(restored) == {"v1"}


def test_a_restored_process_that_cannot_look_does_not_answer(
    ports: Ports, clock: MovableClock, meter: LocalMeter
) -> None:
    deploy(ports, "b1")
    store = Store(ports.records)
    restored = Serving(replace(ports, records=store))
    assert not hidden(restored)
    Catalogue(ports).delete("v1")
    clock.jump(DAY)
    store.before = fail
    for _ in range(3):
        with pytest.raises(NoModel, match=r"slept.*down"):
            restored.view()
        clock.advance(20)
    assert meter.total("OverlayFailed")
    store.before = lambda: None
    assert hidden(restored) == {"v1"}


def test_a_poll_that_was_frozen_with_its_process_does_not_count(
    ports: Ports, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(ports, "b1")
    store, frozen, thawed = Store(ports.records), threading.Event(), threading.Event()
    restored = Serving(replace(ports, records=store))
    assert not hidden(restored)
    monkeypatch.setattr(serving, "BRIEFLY", 0.01)

    def freeze() -> None:
        store.before = lambda: None
        frozen.set()
        assert thawed.wait(30)

    clock.advance(serving.EVERY)
    store.before = freeze
    restored.view()
    assert frozen.wait(30)
    clock.jump(DAY)
    Catalogue(ports).delete("v1")
    clock.advance(1)
    threading.Timer(0.2, thawed.set).start()
    assert hidden(restored) == {"v1"}


def test_a_clock_that_is_set_back_changes_nothing(ports: Ports, clock: MovableClock) -> None:
    deploy(ports, "b1")
    serves = Serving(ports)
    assert not hidden(serves)
    clock.jump(-3 * DAY)
    Catalogue(ports).delete("v1")
    clock.advance(serving.EVERY)
    assert hidden(serves) == {"v1"}
    assert hidden(Serving(ports)) == {"v1"}


def test_nothing_is_like_a_video_that_was_taken_down(ports: Ports, clock: MovableClock) -> None:
    deploy(ports, "b1")
    recommender = Recommender(ports)
    assert recommender.similar("v1", 5, Context(), 30, "r").items
    Catalogue(ports).delete("v1")
    Catalogue(ports).put("v2", body(2, status="private"))
    clock.advance(30)
    for video_id in ("v1", "v2"):
        with pytest.raises(UnknownVideo):
            recommender.similar(video_id, 5, Context(), 30, "r")


def test_a_bundle_whose_changes_are_gone_does_not_serve(
    ports: Ports, clock: MovableClock, meter: LocalMeter
) -> None:
    deploy(ports, "old", config={"changes": [5, NOW]})
    asleep = Serving(ports)
    assert shows(asleep, "v1")
    restrict(ports)
    deploy(ports, "new", config={"changes": list(updates.latest(ports.records))})
    for number in range(1, 45):
        ports.records.delete(Table.OVERLAY, updates.KEY, updates.row(number))
    pinned = Serving(replace(ports, serves="old"))
    for _ in range(3):
        with pytest.raises(NoModel, match="old: changes 5 to 44 are not kept"):
            pinned.view()
        clock.advance(serving.AGAIN)
    assert meter.total("BundleRefused") == 3
    # Whoever slept while they went finds another bundle, or says that there is none.
    clock.jump(100 * DAY)
    assert asleep.view()[0].snapshot.bundle.version == "new"


def test_a_running_process_that_misses_changes_lets_go_of_its_bundle(
    ports: Ports, clock: MovableClock, meter: LocalMeter
) -> None:
    deploy(ports, "b1")
    serves = Serving(ports)
    assert shows(serves, "v1")
    restrict(ports)
    hole = Table.OVERLAY, updates.KEY, updates.row(42)
    kept = ports.records.get(*hole)
    assert kept is not None
    ports.records.delete(*hole)
    clock.advance(serving.EVERY)
    assert shows(serves, "v9"), "a query may see half of what was written at once"
    ports.records.put(*hole, kept.item)
    clock.advance(serving.EVERY)
    assert hidden(serves) == ALL - {"v6"}, "whose window is open for a while"
    Catalogue(ports).delete("v9")
    Catalogue(ports).delete("v10")
    ports.records.delete(Table.OVERLAY, updates.KEY, updates.row(48))
    ports.records.delete(Table.OVERLAY, updates.KEY, updates.row(47))
    clock.advance(serving.EVERY)
    serves.view()
    clock.advance(serving.EVERY)
    with pytest.raises(NoModel, match=r"b1: changes 47 to 48 are not kept"):
        serves.view()
    assert meter.total("BundleRefused")
