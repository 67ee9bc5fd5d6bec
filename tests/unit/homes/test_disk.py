"""What a laptop has accepted is on disk with its name: files, and the folders that they are in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.streams import START, fill
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome, disk
from vireo.homes.local.loop import Position
from vireo.homes.local.tokens import LocalTokens
from vireo.ports import Table


class Disk:
    """What the system was asked for, in order: syncs, and names made, moved or removed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str]] = []
        self._synced: dict[int, int] = {}  #: when, by inode
        self._named: dict[str, int] = {}  #: when, by path
        fsync, opened = os.fsync, os.open

        def sync(file: int) -> None:
            fsync(file)
            self.asked.append(("sync", str(Path(f"/proc/self/fd/{file}").readlink())))
            self._synced[os.fstat(file).st_ino] = len(self.asked)

        def make(path: Any, flags: int, *more: Any, **named: Any) -> int:
            new = bool(flags & os.O_CREAT) and not Path(path).exists()
            file = opened(path, flags, *more, **named)
            if new:
                self._name("make", path)
            return file

        patch.setattr("os.fsync", sync)
        patch.setattr("os.open", make)
        for how, at in (("replace", 1), ("rename", 1), ("link", 1), ("mkdir", 0), ("unlink", 0)):
            patch.setattr(f"os.{how}", self._naming(how, getattr(os, how), at))

    def _naming(self, how: str, call: Callable[..., Any], at: int) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            answer = call(*given, **named)
            self._name(how, given[at])
            return answer

        return called

    def _name(self, how: str, path: Any) -> None:
        self.asked.append((how, str(Path(path).absolute())))
        self._named[self.asked[-1][1]] = len(self.asked)

    def keeps(self, path: Path) -> bool:
        """Whether it is there after a power cut: its bytes were synced, and since then its name."""
        if path.is_file() and path.stat().st_ino not in self._synced:
            return False
        named = self._named.get(str(path), 0)
        return self._synced.get(path.parent.stat().st_ino, -1) > named


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_nothing_of_a_state_folder_goes_with_the_power(tmp_path: Path, watched: Disk) -> None:
    definitions = tmp_path / "definitions"
    definitions.mkdir()
    machine = '{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}'
    (definitions / "empty.asl.json").write_text(machine)
    root = tmp_path / "new"
    clock = MovableClock(START)
    home = LocalHome(root / "home", clock=clock, definitions=definitions)
    fill(home, 40)
    ports = home.open("acme")
    ports.blobs.write("a/b/c.json", b"{}")
    ports.records.put(Table.SETTINGS, "tuning", "", {"explore_slots": 2})
    LocalTokens(home.folder)
    Position(home.folder / "stream" / "tracking" / "shard-0000.position").save(7)
    ports.executions.start("empty", "once", {})
    assert home.machines.wait("empty", "acme", "once", 60)
    assert home.log.trim(0, before=clock.now() + 1, until=10**18)
    home.sync()
    kept = [
        path
        for path in [root, *root.rglob("*")]
        # Nobody holds a lock after a power cut, SQLite makes the index of its journal anew, and
        # what is mapped into memory is fetched again.
        if path.suffix != ".lock"
        and not path.name.endswith("-shm")
        and path.parent.name != "scratch"
    ]
    names = {path.name for path in kept}
    assert names > {"c.json", "records.db-wal", "shard-0000.position", "shard-0001.log"}
    assert names > {"token-key.pem", "acme_once.json"}
    assert [str(path) for path in kept if not watched.keeps(path)] == []


def saved(folder: Path) -> None:
    Position(folder / "shard-0000.position").save(7)


def written(folder: Path) -> None:
    LocalHome(folder).open("acme").blobs.write("b.json", b"{}")


def trimmed(folder: Path) -> None:
    home = LocalHome(folder, clock=MovableClock(START))
    fill(home, 40)
    home.log.trim(0, before=START * 2, until=10**18)


@pytest.mark.parametrize(
    ("replace", "name"),
    [(saved, "shard-0000.position"), (written, "b.json"), (trimmed, "shard-0000.log")],
)
def test_bytes_are_on_disk_before_their_name_and_their_name_before_it_goes_on(
    tmp_path: Path, watched: Disk, replace: Callable[[Path], None], name: str
) -> None:
    replace(tmp_path)
    [at] = [
        j
        for j, (how, path) in enumerate(watched.asked)
        if (how, Path(path).name) == ("replace", name)
    ]
    before, after = watched.asked[at - 1], watched.asked[at + 1]
    path = Path(watched.asked[at][1])
    assert before[0] == "sync"
    assert Path(before[1]) != path
    assert after == ("sync", str(path.parent))


def test_what_is_removed_does_not_come_back_with_the_power(tmp_path: Path, watched: Disk) -> None:
    blobs = LocalHome(tmp_path).open("acme").blobs
    blobs.write("a/b.json", b"{}")
    blobs.delete("a/b.json")
    gone = tmp_path / "blobs" / "acme" / "a" / "b.json"
    assert watched.asked[-2:] == [("unlink", str(gone)), ("sync", str(gone.parent))]


@pytest.mark.parametrize("fails", ["os.fsync", "os.replace"])
def test_a_file_that_cannot_be_replaced_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(fails, fail)
    with (
        pytest.raises(OSError, match="no space"),
        disk.replacing(path, tmp_path / "new") as unfinished,
    ):
        unfinished.write_text("new")
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]
