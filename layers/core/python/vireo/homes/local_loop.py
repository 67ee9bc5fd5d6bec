"""What runs beside the laptop's API: steps that follow the stream, and where each of them is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("vireo.loop")
#: Seconds to wait after a failure.
AGAIN = 1.0


class Position:
    """How far a reader of a shard is: a small file that is replaced whole."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.value = int(path.read_text()) if path.exists() else 0

    def save(self, value: int) -> None:
        """Go on from there, also after a crash."""
        beside = self._path.with_suffix(".new")
        beside.write_text(str(value))
        beside.replace(self._path)
        self.value = value


class Loop:
    """Repeats a step in a thread until it is stopped.

    Args:
        step: returns how much was done, and whether anything failed and must be tried again.
        idle: seconds to wait when there was nothing to do.
    """

    def __init__(self, step: Callable[[], tuple[int, bool]], *, idle: float) -> None:
        self._step = step
        self._idle = idle
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let the step under way finish, and end."""
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
