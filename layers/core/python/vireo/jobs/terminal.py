"""Progress of long work: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from vireo.jobs.progress import Progress

#: Seconds between a task's lines in a log; it also has one at its beginning and end.
EVERY = 10.0
#: Format of a bar: with a known share of the work, and without.
KNOWN = "{desc} {percentage:3.0f}% |{bar:24}| {elapsed} {postfix}"
UNKNOWN = "{desc} {elapsed} {postfix}"


class Terminal:
    """Progress of several tasks by name. Thread-safe."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()
        self._bars: dict[str, Any] = {}
        self._said: dict[str, float] = {}
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in self._bars.values():
            bar.close()

    def task(self, name: str) -> Progress:
        """Progress of one task."""
        return lambda share, what: self(name, share, what)

    def __call__(self, name: str, share: float | None, what: str) -> None:
        """Show the share of a task that is done (0–1; None if unknown) and the current activity."""
        with self._lock:
            if self._stream.isatty():
                self._draw(name, share, what)
            else:
                self._say(name, share, what)

    def _draw(self, name: str, share: float | None, what: str) -> None:
        bar = self._bars.get(name)
        if bar is None:
            bar = self._bars[name] = tqdm(
                total=100,
                desc=f"{name:<11}",
                file=self._stream,
                position=len(self._bars),
                bar_format=UNKNOWN if share is None else KNOWN,
                miniters=0,
            )
        bar.set_postfix_str(what, refresh=False)
        bar.update(0 if share is None else 100 * share - bar.n)

    def _say(self, name: str, share: float | None, what: str) -> None:
        now = time.monotonic()
        if (share or 0) >= 1 or now - self._said.get(name, -EVERY) >= EVERY:
            self._said[name] = now
            took, done = f"{now - self._start:5.0f} s", "" if share is None else f"{share:.0%}"
            print(f"{took}  {name:<11} {done:>4}  {what}", file=self._stream, flush=True)
