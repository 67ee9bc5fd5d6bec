"""The laptop's log, damaged, and after the power failed: nothing stops and nothing is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.oracles_events import assert_followed
from tests.streams import START, delivery, fill, logged
from tracking.app import follower
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.local.loop import Position, Retention
from vireo.homes.local.mapping import EventSourceMapping
from vireo.letters import DeadLetters
from vireo.ports import Table

DAMAGED = (
    b"\x00\x00\x00\n",
    b"{\n",
    b"[]\n",
    b'{"tenant":"default"}\n',
    b'{"tenant":"default","key":"anna","arrived":"now","payload":""}\n',
    b'{"tenant":"default","key":"anna","arrived":1,"payload":"***"}\n',
    b'{"trimmed":"all"}\n',
    b"\xff\xfe\n",
)


@pytest.fixture
def home(tmp_path: Path) -> LocalHome:
    return LocalHome(tmp_path / "home", clock=MovableClock(START))


def damage(home: LocalHome, line: bytes, *, first: bool) -> None:
    """Put a line into every shard, before all others or in the middle of them."""
    for path in home.folder.glob("stream/shard-*.log"):
        lines = path.read_bytes().splitlines(keepends=True)
        at = 0 if first else len(lines) // 2
        path.write_bytes(b"".join([*lines[:at], line, *lines[at:]]))


def drain(mapping: EventSourceMapping) -> None:
    while mapping.step() != (0, False):
        pass


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_is_a_dead_letter_and_stops_nobody(
    home: LocalHome, tmp_path: Path, line: bytes, first: bool
) -> None:
    fill(home, 60, poison=0.0)
    damage(home, line, first=first)
    mapping = EventSourceMapping(home.log, tmp_path / "p", follower(home), batch=7)
    collected = delivery(home, tmp_path / "c")
    for _ in range(2):
        drain(mapping)
        collected.step(flush=True)
    assert_followed(home.open("default").records, [a for a in logged(home) if a.payload != line])
    letters = [arrival.payload for _, arrival, _ in DeadLetters(home.open("_system").blobs).all()]
    assert letters == [line] * home.log.shards
    clock = home.clock
    assert isinstance(clock, MovableClock)
    clock.advance(2 * 86_400)
    Retention(home.log, [mapping, collected], clock).step()
    assert logged(home) == []


@pytest.mark.parametrize("text", ["", "seven", "\x00\x00", "-5", "7.5"])
def test_a_position_that_cannot_be_read_is_the_beginning(tmp_path: Path, text: str) -> None:
    path = tmp_path / "shard-0000.position"
    path.write_text(text)
    position = Position(path)
    assert position.value == 0
    position.save(7)
    assert Position(path).value == 7


def test_a_position_that_the_log_does_not_reach_is_of_another_log(
    home: LocalHome, tmp_path: Path
) -> None:
    for shard in range(home.log.shards):
        Position(tmp_path / "p" / f"shard-{shard:04d}.position").save(10**9)
    arrivals = fill(home, 40)
    drain(EventSourceMapping(home.log, tmp_path / "p", follower(home)))
    assert_followed(home.open("default").records, arrivals)


def test_after_the_power_failed_what_the_store_lost_is_read_again(
    home: LocalHome, tmp_path: Path
) -> None:
    arrivals = fill(home, 400, poison=0.0)
    on_disk = tmp_path / "disk"

    def sync() -> None:
        """What is on disk now is all that is left when the power fails."""
        home.sync()
        shutil.rmtree(on_disk, ignore_errors=True)
        on_disk.mkdir()
        for path in home.folder.glob("records.db*"):
            shutil.copy(path, on_disk)

    sync()
    mapping = EventSourceMapping(home.log, tmp_path / "p", follower(home), batch=5, sync=sync)
    for _ in range(27):
        assert mapping.step() != (0, False)
    assert any(mapping.position(shard) for shard in range(home.log.shards))
    home.close()
    for path in home.folder.glob("records.db*"):
        path.unlink()
    for path in on_disk.iterdir():
        shutil.copy(path, home.folder)
    again = LocalHome(home.folder, clock=home.clock)
    drain(EventSourceMapping(again.log, tmp_path / "p", follower(again), sync=again.sync))
    assert_followed(again.open("default").records, arrivals)


def test_what_is_accepted_is_on_disk(home: LocalHome, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    sync = os.fsync

    def note(file: int) -> None:
        sync(file)
        synced.add(os.fstat(file).st_ino)

    monkeypatch.setattr("os.fsync", note)
    assert home.open("default").stream.publish([("anna", b"{}")]) == [None]
    filled = [path for path in home.folder.glob("stream/shard-*.log") if path.stat().st_size]
    assert {path.stat().st_ino for path in filled} <= synced
    home.open("default").records.add(Table.SETTINGS, "spent", "spring", {"impressions": 1})
    home.sync()
    journal = home.folder / "records.db-wal"
    assert journal.stat().st_ino in synced
