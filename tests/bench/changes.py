"""What changes of the catalogue cost a process that starts, and a poll that finds one more.

``python -m tests.bench.changes``: a laptop's home with a bundle of 100,000 videos; CPU seconds of
loading it without changes and with 40,000 of them, half of which are new videos, the median of
several starts. Each start is a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.worlds import NOW, bundle, catalogue, video
from vireo.bundles import files, pointer
from vireo.catalogue import updates
from vireo.catalogue.store import Catalogue
from vireo.homes.clock import MovableClock
from vireo.homes.local import home
from vireo.recommender.serving import EVERY, Serving

VIDEOS = 100_000


def main() -> None:
    """Make the homes, start processes, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, nargs="+", default=[0, 40_000])
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start is not None:
        print(*start(options.start))
        return
    with tempfile.TemporaryDirectory() as folder:
        for changes in options.changes:
            make(Path(folder, str(changes)), changes)
            command = [sys.executable, "-m", "tests.bench.changes", "--start"]
            command.append(str(Path(folder, str(changes))))
            found = [
                [float(part) for part in subprocess.check_output(command).split()]
                for _ in range(options.starts)
            ]
            first, more = (statistics.median(column) for column in zip(*found, strict=True))
            print(
                f"{changes:>7,} changes: {first:.2f} s CPU to load, {more:.2f} s a poll with news"
            )


def make(folder: Path, changes: int) -> None:
    """A home with a bundle that does not know the changes."""
    opened = home(folder, clock=MovableClock(NOW))
    ports = opened.open("default")
    files.publish(bundle(catalogue(VIDEOS), config={"changes": [0, 0.0]}), ports.blobs)
    pointer.switch(ports.records, "b1", expect=None)
    Serving(ports).view()  # the bundle is there, as it is in a snapshot
    first = VIDEOS - changes // 2
    tags = tuple(f"tag {j}" for j in range(10))
    new = [
        video(first + j, title=f"A change with the number {j}", tags=tags) for j in range(changes)
    ]
    for begin in range(0, changes, updates.TOGETHER):
        part = new[begin : begin + updates.TOGETHER]
        updates.write(ports.records, [updates.stored(v) for v in part], NOW)
    opened.close()


def start(folder: Path) -> tuple[float, float]:
    """CPU seconds of the first view, and of the poll after another change."""
    clock = MovableClock(NOW)
    ports = home(folder, clock=clock).open("default")
    serving = Serving(ports)
    began = time.process_time()
    serving.view()
    loaded = time.process_time() - began
    Catalogue(ports).put_all([video(7, title=f"Changed at {time.time()}")])
    clock.advance(EVERY)
    began = time.process_time()
    serving._refresh()
    return loaded, time.process_time() - began


if __name__ == "__main__":
    main()
