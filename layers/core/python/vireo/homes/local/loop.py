"""The laptop's background work: repeated steps that read the stream, and their positions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from vireo.homes.local import disk
from vireo.homes.local.stream import StreamLog
from vireo.ports import Clock

log = logging.getLogger("vireo.loop")
#: Seconds to wait after a failure.
AGAIN = 1.0
#: Seconds for which records stay in the log.
KEPT = 86_400.0


class Position:
    """The position of a reader in a shard, in a small file that is replaced atomically.

    What was done up to a position must be on disk before the position is: a reader that reads
    again changes nothing, one that is ahead of what is kept loses something. A file that holds no
    position means the beginning. Raises `disk.Unusable` if there is one that may not be read.
    """

    def __init__(self, path: Path) -> None:
        disk.make_folder(path.parent)
        self._path = path
        self.value = 0
        try:
            self.value = max(0, int(path.read_text()))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise disk.Unusable(f"{path} cannot be read: {error.strerror}") from error
        except ValueError:
            log.warning("%s holds no position; its shard is read from the beginning", path)

    def save(self, value: int) -> None:
        """Store a position, to continue from it even after the power fails."""
        with disk.replacing(self._path, self._path.with_suffix(".new")) as unfinished:
            unfinished.write_text(str(value))
        self.value = value


def places(stream: StreamLog, folder: Path) -> list[Position]:
    """The positions of a reader in all shards of a log.

    One that its shard does not reach is of a log that was lost, or set back to an earlier moment.
    Then nobody knows what of it was followed: it is read from its beginning, under new numbers.
    """
    found = [Position(folder / f"shard-{shard:04d}.position") for shard in range(stream.shards)]
    for shard, place in enumerate(found):
        if place.value > stream.size(shard):
            log.error(
                "shard %d of the stream ends at %d and was read up to %d: some of it is lost. "
                "What there is of it is read again.",
                *(shard, stream.size(shard), place.value),
            )
            stream.renumber(shard)
            place.save(stream.begin(shard))
    return found


class Reader(Protocol):
    """A reader of the log that stores its own position."""

    def position(self, shard: int) -> int:
        """The sequence number up to which a shard has been processed."""
        ...


class Retention:
    """Trims the log: it keeps a day, as Kinesis does, and all records that a reader still needs."""

    def __init__(self, log: StreamLog, readers: Sequence[Reader], clock: Clock) -> None:
        self._log = log
        self._readers = readers
        self._clock = clock

    def step(self) -> tuple[int, bool]:
        """Trim every shard. Returns 0, False: there is never more to do at once."""
        for shard in range(self._log.shards):
            until = min(reader.position(shard) for reader in self._readers)
            self._log.trim(shard, before=self._clock.now() - KEPT, until=until)
        return 0, False


class Loop:
    """A thread that repeats a step until it is stopped.

    Args:
        step: returns the amount done, and whether anything failed and must be retried.
        idle: seconds to wait if there was nothing to do.
    """

    def __init__(self, step: Callable[[], tuple[int, bool]], *, idle: float) -> None:
        self._step = step
        self._idle = idle
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the current step finish, and end the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                done, failed = self._step()
            except Exception:
                log.exception("a step failed; it is tried again")
                done, failed = 0, True
            if failed or not done:
                self._stop.wait(AGAIN if failed else self._idle)
