"""What is left when a process is killed in the middle of its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vireo.homes.local import home as local_home
from vireo.ports import Table

#: Each says what it does only after it was acknowledged.
WRITERS = {
    "records": """
for n in itertools.count():
    ports.records.put(Table.VIDEOS, "k", f"{n:06}", {"n": n, "x": b"x" * 2000})
    ports.records.write([Put(Table.OVERLAY, key, "", {"n": n}) for key in "ab"])
    say(n)
""",
    "blobs": """
for n in itertools.count():
    ports.blobs.write("b/file", bytes([n % 256]) * 3_000_000)
    ports.blobs.write(f"b/{n:06}", b"%d" % n * 1000)
    say(n)
""",
    "stream": """
for n in itertools.count():
    ports.stream.publish([(f"k{j}", b"%06d" % n * 500) for j in range(20)])
    say(n)
""",
}
PROGRAM = """
import itertools, os, sys
from vireo.homes.local import home
from vireo.ports import Put, Table
ports = home(sys.argv[1]).open("acme")
def say(n):
    os.write(1, b"%d\\n" % n)
"""


def killed(program: str, folder: Path, after: int) -> int:
    """Run until ``after`` acknowledgements, kill it, and return the last one it gave."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program, str(folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) % 1000 >= after:
            break
    time.sleep(0.003 * (after % 5))  # somewhere within a write
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    return int(rest[-1] if rest else line)


@pytest.mark.parametrize("after", [3, 6, 9])
def test_records(tmp_path: Path, after: int) -> None:
    last = killed(WRITERS["records"], tmp_path, after)
    records = local_home(tmp_path).open("acme").records
    found = records.query(Table.VIDEOS, "k").records
    assert len(found) in {last + 1, last + 2}
    assert [r.item["n"] for r in found] == list(range(len(found)))
    a, b = records.get(Table.OVERLAY, "a"), records.get(Table.OVERLAY, "b")
    assert a is not None
    assert b is not None
    assert a.item == b.item
    assert a.item["n"] in {last, last + 1}


@pytest.mark.parametrize("after", [3, 6, 9])
def test_blobs(tmp_path: Path, after: int) -> None:
    last = killed(WRITERS["blobs"], tmp_path, after)
    blobs = local_home(tmp_path).open("acme").blobs
    data = blobs.read("b/file")
    assert data == data[:1] * 3_000_000
    assert data[0] in {last, last + 1}
    names = [n for n in blobs.names("b/") if n != "b/file"]
    assert len(names) in {last + 1, last + 2}
    for n, name in enumerate(names):
        assert blobs.read(name) == b"%d" % n * 1000


@pytest.mark.parametrize("after", [5, 11, 17])
def test_stream(tmp_path: Path, after: int) -> None:
    last = killed(WRITERS["stream"], tmp_path, after)
    home = local_home(tmp_path)
    home.open("acme").stream.publish([(f"k{j}", b"again") for j in range(20)])
    found: dict[str, list[bytes]] = {}
    for shard in range(home.log.shards):
        for record in home.log.read(shard, limit=10**6):
            found.setdefault(record.key, []).append(record.payload)
    assert len(found) == 20
    for payloads in found.values():
        whole = [b"%06d" % n * 500 for n in range(len(payloads) - 1)]
        assert payloads == [*whole, b"again"]
        assert len(whole) >= last + 1


def test_a_torn_line_of_any_length_is_cut_off(tmp_path: Path) -> None:
    for torn in (b"{", b'{"tenant":"acme","payload":"' + b"x" * 200_000):
        home = local_home(tmp_path / str(len(torn)))
        stream = home.open("acme").stream
        stream.publish([("k", b"1")])
        for path in (home.folder / "stream").iterdir():
            with path.open("ab") as file:
                file.write(torn)
        shards = [s for s in range(home.log.shards) if home.log.read(s)]
        assert [r.payload for r in home.log.read(shards[0])] == [b"1"]
        stream.publish([("k", b"2")])
        records = home.log.read(shards[0])
        assert [r.payload for r in records] == [b"1", b"2"]
        assert [r.payload for r in home.log.read(shards[0], records[0].sequence)] == [b"2"]


SHARER = """
for n in range(100):
    ports.records.add(Table.VIDEOS, "k", "", {"n": 1})
    ports.stream.publish([("k", b"%d" % n)])
say(0)
"""


def test_processes_share_a_folder(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM + SHARER, str(tmp_path)],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]
    assert [p.wait(60) for p in processes] == [0] * 4
    home = local_home(tmp_path)
    record = home.open("acme").records.get(Table.VIDEOS, "k")
    assert record is not None
    assert record.item == {"n": 400}
    lines = [r.payload for s in range(home.log.shards) for r in home.log.read(s)]
    assert sorted(lines) == sorted(b"%d" % n for n in range(100) for _ in range(4))


EXECUTION = """
import time
from pathlib import Path
h = home(sys.argv[1], functions={"F": lambda event, context: time.sleep(60)},
         definitions=Path(sys.argv[1]))
h.open("acme").executions.start("m", "run", {})
say(1000)
time.sleep(60)
"""
MACHINE = """{"StartAt": "A", "States": {"A": {"Type": "Task", "End": true,
 "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "${F}"}}}}"""


def test_an_execution_whose_process_died_was_aborted(tmp_path: Path) -> None:
    (tmp_path / "m.asl.json").write_text(MACHINE)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + EXECUTION, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    executions = local_home(tmp_path, definitions=tmp_path).open("acme").executions
    assert executions.describe("m", "run").status == "RUNNING"  # seen from another process
    process.kill()
    process.wait()
    process.stdout.close()
    for _ in range(2):
        execution = executions.describe("m", "run")
        assert (execution.status, execution.error) == ("ABORTED", "Vireo.Crashed")
