"""A tenant's life in both homes: listed, exported and deleted whole, and nobody else with it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.streams import START, one
from tests.worlds import catalogue, viewer
from vireo import identity
from vireo.catalogue.store import Catalogue
from vireo.events.tracking import Tracking
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Home, Ports, Refused, Table
from vireo.tenancy import deletion, export
from vireo.tenancy.whole import Whole

#: How many viewers a tenant has.
VIEWERS = 40


def live(home: Home, tenant: str) -> Ports:
    """A tenant with something in every table, and files."""
    ports = home.open(tenant)
    identity.register_client(home, f"client-{tenant}", tenant)
    Catalogue(ports).put_all(catalogue(30))
    ports.records.put(Table.VIDEOS, "s01", "damaged", {"unreadable": "of tomorrow"})
    for n in range(VIEWERS):
        ports.records.put(Table.VIEWERS, f"u{n}", "", {"viewer": viewer(1, n).pack()})
    Tracking(ports).follow([one(n, "u0", video_id="v9", timestamp=START + n) for n in range(70)])
    ports.records.put(Table.SETTINGS, "campaigns", "spring", {"budget": 1, "raw": b"\xff"})
    ports.records.put(Table.SETTINGS, "spent", "old", {"n": 1}, expires=ports.clock.now() + 10)
    ports.records.put(Table.REGISTRY, "serving", "", {"version": "b1", "previous": None})
    ports.blobs.write("events/date=2026-01-01/a.parquet", b"PAR1")
    ports.blobs.write("bundles/b1/manifest.json", b"{}")
    DeadLetters(ports.blobs).bury(Arrival("u0", b"{", "shard", 1, START), "not JSON")
    return ports


def left(home: Whole, tenant: str) -> int:
    ports = home.open(tenant)
    records = sum(1 for table in Table for _ in home.places(tenant, table))
    return records + sum(1 for _ in ports.blobs.names())


@pytest.mark.second_dynamodb
def test_places_are_those_of_a_tenant_each_once(
    home: Whole, tenant: str, clock: MovableClock
) -> None:
    """Whatever its name is, and what others are called; more than a page of a query, or a scan."""
    ports, placed = home.open(tenant), set()
    for neighbour in (f"{tenant}-", f"x{tenant}", f"{tenant}x"):
        home.open(neighbour).records.put(Table.VIDEOS, "k", "theirs", {})
    for n in range(30):
        for sort in ("", "a", "λ#/"):
            ports.records.put(Table.VIDEOS, f"key {n} #é", sort, {"x": b"x" * 20_000})
            placed.add((f"key {n} #é", sort))
    ports.records.put(Table.VIDEOS, "expired", "", {}, expires=clock.now() + 1)
    placed.add(("expired", ""))
    clock.advance(10)
    found = list(home.places(tenant, Table.VIDEOS))
    assert sorted(found) == sorted(placed)
    keys = [key for key, _ in found]
    assert len([key for key, _ in groupby(keys)]) == len(set(keys))
    assert list(home.places(tenant, Table.SETTINGS)) == []
    parts = [list(home.places(tenant, Table.VIDEOS, part, 4)) for part in range(4)]
    assert sorted(place for part in parts for place in part) == sorted(placed)
    assert len({key for part in parts for key in {key for key, _ in part}}) == len(set(keys))
    assert [list(home.places(tenant, Table.VIDEOS, part, 4)) for part in range(4)] == parts


def test_a_deletion_leaves_nothing_and_nobody_else_loses_anything(
    home: Whole, tenant: str, clock: MovableClock
) -> None:
    other = f"{tenant}-2"
    ports, beside = live(home, tenant), live(home, other)
    before = left(home, other)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        """By now nobody gets in any more; what is there, is there still."""
        waited.append(seconds)
        clock.advance(seconds)
        if len(waited) == 2:
            assert left(home, tenant) == 0
            ports.blobs.write("events/date=2026-01-01/late.parquet", b"PAR1")
            return
        assert identity.clients(home, tenant) == []
        with pytest.raises(Refused, match="being deleted"):
            identity.register_client(home, "late", tenant)
        assert left(home, tenant) > VIEWERS
        ports.records.put(Table.VIEWERS, "late", "", {})

    clock.advance(60)  # one of its records has expired, and is there
    removed = deletion.delete(home, tenant, wait)
    assert waited == [identity.REMEMBERED, home.late]
    assert removed.clients == [f"client-{tenant}"]
    assert removed.records[Table.VIEWERS] == VIEWERS + 2 + 1
    assert (removed.records[Table.SETTINGS], removed.blobs) == (2, 4)
    assert left(home, tenant) == 0
    assert not deletion.delete(home, tenant, waited.append), "again: there is nothing"
    assert len(waited) == 2, "and nothing to wait for"
    assert left(home, other) == before
    assert identity.clients(home, other) == [f"client-{other}"]
    assert beside.records.get(Table.REGISTRY, "serving") is not None
    identity.register_client(home, "new", tenant)


def test_a_deletion_that_was_interrupted_goes_on(
    home: Whole, tenant: str, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(home, tenant)
    waited: list[float] = []
    for killed_at in (1, 3, 7):
        calls = iter(range(100))

        def told(share: float | None, what: str, calls: Any = calls, at: int = killed_at) -> None:
            if next(calls) == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            deletion.delete(home, tenant, waited.append, told)
        assert identity.leaving(home, tenant) is not None
        clock.advance(200)
    deletion.delete(home, tenant, waited.append)
    assert left(home, tenant) == 0
    assert identity.leaving(home, tenant) is None
    assert waited == [300, 100, 0, 0, max(0, home.late - 300)]


def test_who_still_writes_is_told_and_the_name_stays_taken(home: Whole, tenant: str) -> None:
    ports = live(home, tenant)

    def told(share: float | None, what: str) -> None:
        ports.blobs.write("events/late", b"1")

    with pytest.raises(deletion.StillWritten, match=tenant):
        deletion.delete(home, tenant, lambda _: None, told)
    assert identity.leaving(home, tenant) is not None
    deletion.delete(home, tenant, lambda _: None)
    assert left(home, tenant) == 0


def test_an_export_has_everything(home: Whole, tenant: str, tmp_path: Path) -> None:
    live(home, tenant)
    live(home, f"{tenant}-2").blobs.write("events/date=2026-01-01/theirs.parquet", b"PAR1")
    folder = tmp_path / "export"
    manifest = export.whole(home, tenant, folder)

    def lines(name: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in (folder / name).read_bytes().splitlines()]

    videos = {row["video_id"]: row for row in lines("catalogue.jsonl")}
    assert videos["v3"]["title"] == "Video number 3"
    assert videos["damaged"] == {"video_id": "damaged", "unreadable": "of tomorrow"}
    assert len(videos) == 31
    parts = [lines(f"viewers/{part:02d}.jsonl") for part in range(export.PARTS)]
    viewers = {row["user_id"]: row for part in parts for row in part}
    assert len(viewers) == VIEWERS == sum(map(len, parts))
    assert (viewers["u0"]["rows"], viewers["u0"]["counts"]["watches"]) == (3, 72)
    assert [video["video_id"] for video in viewers["u7"]["watched"]] == ["v1", "v7"]
    assert [video["video_id"] for video in viewers["u39"]["watched"]] == ["v1", None]
    spring = {"budget": 1, "raw": {"base64": "/w=="}}
    assert {"key": "campaigns", "sort": "spring", "item": spring} in lines("settings.jsonl")
    serving = {"version": "b1", "previous": None}
    assert {"key": "serving", "sort": "", "item": serving} in lines("registry.jsonl")
    assert (folder / "events/date=2026-01-01/a.parquet").read_bytes() == b"PAR1"
    assert not (folder / "events/date=2026-01-01/theirs.parquet").exists()
    assert manifest["clients"] == [f"client-{tenant}"]
    assert manifest["files"]["events/"] == manifest["files"]["dead-letters/"] == 1
    assert orjson.loads((folder / "manifest.json").read_bytes())["files"] == manifest["files"]
    with pytest.raises(FileExistsError, match=f"export of {tenant}"):
        export.whole(home, f"{tenant}-2", folder)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="no export"):
        export.whole(home, tenant, tmp_path)


def test_an_export_that_was_interrupted_goes_on(
    home: Whole, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports, folder, write = live(home, tenant), tmp_path / "export", export._write

    def killed(path: Path, parts: Any) -> None:
        if path.name == "05.jsonl":
            path.with_name("05.jsonl.unfinished").write_bytes(b'{"half')
            raise KeyboardInterrupt
        write(path, parts)

    with monkeypatch.context() as patch:
        patch.setattr(export, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            export.whole(home, tenant, folder)
    assert not (folder / "manifest.json").exists()
    whole = {path: path.stat().st_ino for path in folder.rglob("*.jsonl")}
    assert len(whole) == 6
    Catalogue(ports).delete("v3")
    export.whole(home, tenant, folder)
    assert {path: path.stat().st_ino for path in whole} == whole, "not written again"
    assert sum(len(p.read_bytes().splitlines()) for p in folder.glob("viewers/*")) == VIEWERS
    assert not [*folder.rglob("*.unfinished")]


def test_a_laptop_keeps_no_executions_and_folders_of_it(tmp_path: Path) -> None:
    """In AWS they go by themselves."""
    machine = '{"StartAt": "Done", "States": {"Done": {"Type": "Pass", "End": true}}}'
    (tmp_path / "training.asl.json").write_text(machine)
    home = LocalHome(tmp_path / "state", definitions=tmp_path)
    for tenant in ("acme", "acme-2"):
        home.open(tenant).executions.start("training", "run", {})
        home.open(tenant).blobs.write("x", b"")
        assert home.machines.wait("training", tenant, "run", 30)
    deletion.delete(home, "acme", lambda _: None)
    here = {path.name for path in (tmp_path / "state").rglob("acme*")}
    assert here == {"acme-2", "acme-2_run.json", "acme-2_run.lock"}
    home.close()
