"""The laptop's log, damaged, and after the power failed: nothing stops and nothing is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.oracles_events import assert_followed
from tests.streams import START, delivery, files, fill, logged, one
from tracking.app import follower
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome, disk
from vireo.homes.local.delivery import Delivery
from vireo.homes.local.loop import Position, Retention
from vireo.homes.local.mapping import EventSourceMapping
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Table

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
    """Put a line into every shard, before all records or in the middle of them."""
    for path in home.folder.glob("stream/shard-*.log"):
        lines = path.read_bytes().splitlines(keepends=True)
        at = 1 if first else len(lines) // 2
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


@pytest.mark.parametrize("text", ["9" * 18, "9" * 40])
def test_a_position_that_the_log_does_not_reach_is_of_another_log(
    home: LocalHome, tmp_path: Path, text: str
) -> None:
    arrivals = fill(home, 40)
    (tmp_path / "p").mkdir()
    for shard in range(home.log.shards):
        (tmp_path / "p" / f"shard-{shard:04d}.position").write_text(text)
    drain(EventSourceMapping(home.log, tmp_path / "p", follower(home)))
    assert_followed(home.open("default").records, arrivals)


def nothing(_: LocalHome) -> None:
    """Everything is still there."""


def lose_the_log(home: LocalHome) -> None:
    for path in home.folder.glob("stream/shard-*.log"):
        path.unlink()


def lose_the_stream(home: LocalHome) -> None:
    shutil.rmtree(home.folder / "stream")


def set_the_log_back(home: LocalHome) -> None:
    for path in home.folder.glob("stream/shard-*.log"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) // 2]))


def lose_the_header(home: LocalHome) -> None:
    for path in home.folder.glob("stream/shard-*.log"):
        path.write_bytes(path.read_bytes().partition(b"\n")[2])


@pytest.mark.parametrize(
    "fault", [nothing, lose_the_log, lose_the_stream, set_the_log_back, lose_the_header]
)
def test_what_comes_after_a_part_of_the_log_was_lost_is_followed_and_kept(
    home: LocalHome, fault: Callable[[LocalHome], None], caplog: pytest.LogCaptureFixture
) -> None:
    clock = home.clock
    assert isinstance(clock, MovableClock)

    def send(home: LocalHome, count: int) -> list[Arrival]:
        first = int(clock.now() - START) + 1
        sent = [one(j, f"u{j % 7}") for j in range(first, first + count)]
        for event in sent:
            clock.advance(max(0.0, event.arrived - clock.now()))
            assert home.open("default").stream.publish([(event.key, event.payload)]) == [None]
        return [a for a in logged(home) if a.payload in {event.payload for event in sent}]

    def readers(home: LocalHome) -> tuple[EventSourceMapping, Delivery]:
        folder = home.folder / "stream"
        mapping = EventSourceMapping(home.log, folder / "tracking", follower(home))
        return mapping, delivery(home, folder / "collected")

    def follow(mapping: EventSourceMapping, collected: Delivery) -> None:
        drain(mapping)
        collected.step(flush=True)

    early = send(home, 60)
    follow(*readers(home))
    home.close()
    fault(home)
    again = LocalHome(home.folder, clock=clock)
    late = send(again, 10)  # nobody follows yet
    mapping, collected = readers(again)
    late += send(again, 60)
    # What is old is trimmed if it was followed, and only then.
    clock.advance(2 * 86_400)
    Retention(again.log, [mapping, collected], clock).step()
    follow(mapping, collected)
    assert (len(early), len(late)) == (60, 70)
    assert_followed(again.open("default").records, [*early, *late])
    rows = [row["event_id"] for found in files(again.open("default")).values() for row in found]
    assert {*rows} == {orjson.loads(a.payload)["event_id"] for a in [*early, *late]}
    told = [r.getMessage() for r in caplog.records if "some of it is lost" in r.getMessage()]
    assert bool(told) == (fault not in {nothing, lose_the_log, lose_the_stream})


def test_a_position_that_may_not_be_looked_into_is_named(home: LocalHome, tmp_path: Path) -> None:
    (tmp_path / "p" / "shard-0001.position").mkdir(parents=True)
    with pytest.raises(disk.Unusable, match=r"shard-0001\.position cannot be read: Is a dir"):
        EventSourceMapping(home.log, tmp_path / "p", follower(home))


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
