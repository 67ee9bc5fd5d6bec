"""Upkeep removes the same in every home: what is too old, and nothing that serves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.worlds import bundle, catalogue
from upkeep.app import keeper, tidy
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.homes.clock import MovableClock
from vireo.homes.meter import LocalMeter
from vireo.identity import register_client
from vireo.ports import Blobs, Home, Ports, Table, Unavailable
from vireo.training import upkeep
from vireo.training.upkeep import DAY, Kept


class Aged:
    """Blobs that were written a number of days ago, as their names are listed here."""

    def __init__(self, blobs: Blobs, days: dict[str, float]) -> None:
        self._blobs, self._days = blobs, days

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def written(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        for name, at in self._blobs.written(prefix):
            yield name, at - DAY * next((d for p, d in self._days.items() if name.startswith(p)), 0)


def aged(ports: Ports, days: dict[str, float]) -> Ports:
    """The same ports now, with blobs that are as old as that, by the beginning of their names."""
    blobs: Any = Aged(ports.blobs, days)
    return replace(ports, blobs=blobs, clock=MovableClock(time.time()), meter=LocalMeter())


def removed(ports: Ports, kind: str) -> float:
    assert isinstance(ports.meter, LocalMeter)
    return ports.meter.total("Removed", kind=kind)


def test_events_go_a_year_after_they_were_written(ports: Ports) -> None:
    """By arrival or by an import, whatever the date of what is in them."""
    names = {
        "events/date=2001-01-01/imported-lately.parquet": 3.0,
        "events/date=2024-01-01/old.parquet": 366.0,
        "events/date=2024-02-01/not-yet.parquet": 364.0,
    }
    for name in names:
        ports.blobs.write(name, b"1")
    old = aged(ports, names)
    upkeep.tidy(old)
    assert [name for name, days in names.items() if days < 365] == list(old.blobs.names("events/"))
    assert removed(old, "events") == 1


def test_what_serves_and_the_bundle_before_stay_however_old(ports: Ports) -> None:
    for version in ("b1", "b2", "b3", "b4"):
        bundles.publish(bundle(catalogue(10), version=version), ports.blobs)
        ports.records.put(Table.REGISTRY, "models", version, {"run": version})
        if version in ("b2", "b3"):
            serving = pointer.current(ports.records)
            pointer.switch(ports.records, version, expect=serving)
    old = aged(ports, {"bundles/": 400})
    upkeep.tidy(old, Kept(bundles=0))
    left = {name.split("/")[1] for name in ports.blobs.names("bundles/")}
    assert left == {"b2", "b3"}
    models = ports.records.query(Table.REGISTRY, "models").records
    assert [record.sort for record in models] == ["b2", "b3"], "nobody can go back to what is gone"
    assert removed(old, "bundles") > 2


def test_the_newest_stay_and_so_does_what_is_being_made(ports: Ports) -> None:
    days = {"bundles/r1/": 90.0, "bundles/r2/": 80.0, "bundles/r3/": 2.0}
    days |= {f"runs/r{j}/": 90.0 - j for j in range(1, 4)} | {"runs/r4/": 1.0}
    for prefix in days:
        ports.blobs.write(f"{prefix}x", b"1")
    upkeep.tidy(aged(ports, days), Kept(runs=2, bundles=2))
    assert list(ports.blobs.names("bundles/")) == ["bundles/r2/x", "bundles/r3/x"]
    assert list(ports.blobs.names("runs/")) == ["runs/r3/x", "runs/r4/x"]
    # Without anything to keep, what is young stays: a run that goes on, a bundle half published.
    upkeep.tidy(aged(ports, days), Kept(runs=0, bundles=0))
    assert list(ports.blobs.names("runs/")) == ["runs/r4/x"]
    assert list(ports.blobs.names("bundles/")) == ["bundles/r3/x"]


def test_a_run_of_which_only_a_part_is_old_stays(ports: Ports) -> None:
    ports.blobs.write("runs/r1/preprocess.json", b"{}")
    ports.blobs.write("runs/r1/report/report.json", b"{}")
    upkeep.tidy(aged(ports, {"runs/r1/p": 90.0}), Kept(runs=0))
    assert len(list(ports.blobs.names("runs/"))) == 2


class Stops(Exception):
    """A crash in the middle of it."""


def crashing(ports: Ports, days: dict[str, float], *, after: int) -> Ports:
    """The same ports, of which a process dies after so many blobs were deleted."""
    found, done = aged(ports, days), list[str]()
    blobs: Any = found.blobs

    def delete(name: str) -> None:
        if len(done) == after:
            raise Stops
        done.append(name)
        ports.blobs.delete(name)

    blobs.delete = delete
    return found


def test_a_crash_leaves_no_run_that_would_go_on_without_its_data(ports: Ports) -> None:
    for name in ("evaluate.json", "prepared/arrays.npz", "preprocess.json"):
        ports.blobs.write(f"runs/r1/{name}", b"{}")
    dying = crashing(ports, {"runs/": 90.0}, after=2)
    with pytest.raises(Stops):
        upkeep.tidy(dying, Kept(runs=0))
    assert list(ports.blobs.names("runs/")) == ["runs/r1/prepared/arrays.npz"]
    assert removed(dying, "runs") == 2, "what was done is counted"
    upkeep.tidy(aged(ports, {"runs/": 90.0}), Kept(runs=0))
    assert list(ports.blobs.names("runs/")) == []


def test_a_crash_leaves_no_bundle_that_could_be_chosen_or_loaded(ports: Ports) -> None:
    bundles.publish(bundle(catalogue(10), version="b1"), ports.blobs)
    ports.records.put(Table.REGISTRY, "models", "b1", {"run": "b1"})
    with pytest.raises(Stops):
        upkeep.tidy(crashing(ports, {"bundles/": 90.0}, after=1), Kept(bundles=0))
    assert ports.records.get(Table.REGISTRY, "models", "b1") is None
    left = set(ports.blobs.names("bundles/"))
    assert "bundles/b1/features.npy" in left
    assert "bundles/b1/manifest.json" not in left
    upkeep.tidy(aged(ports, {"bundles/": 90.0}), Kept(bundles=0))
    assert list(ports.blobs.names("bundles/")) == []


def test_a_day_removes_so_much_and_the_next_goes_on(ports: Ports) -> None:
    for j in range(7):
        ports.blobs.write(f"events/date=2020-01-01/{j}.parquet", b"1")
    for left in (4, 1, 0):
        upkeep.tidy(aged(ports, {"events/": 400}), Kept(blobs=3))
        assert len(list(ports.blobs.names("events/"))) == left


def test_all_that_have_clients_are_tidied_though_one_fails(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for client, tenant in (("c1", "acme"), ("c2", "beta"), ("c3", "beta")):
        register_client(home, client, tenant)
    plain = home.open

    def opened(tenant: str) -> Ports:
        ports = plain(tenant)
        blobs: Any = Aged(ports.blobs, {})

        def written(prefix: str = "") -> Iterator[tuple[str, float]]:
            asked.append(f"{tenant} {prefix}")
            if tenant == "acme":
                raise Unavailable("not now")
            return iter(())

        blobs.written = written
        return replace(ports, blobs=blobs)

    monkeypatch.setattr(home, "open", opened)
    with pytest.raises(ExceptionGroup) as failed:
        keeper(home)({"task": "tidy", "tenant": "default"}, None)
    assert [str(one) for one in failed.value.exceptions] == ["not now"]
    assert {"acme events/", "beta events/", "default bundles/"} <= set(asked)
    monkeypatch.undo()
    tidy(home, "default")


def test_homes_without_versions_forget_none(ports: Ports) -> None:
    meter = LocalMeter()
    upkeep.forget_versions(replace(ports, meter=meter))
    assert meter.total("Removed", kind="versions") == 0
