"""Progress of long work: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

#: In a log a task says something when it begins and ends, and this often in between (seconds).
EVERY = 10.0


class Progress:
    """Tasks by name, each with a share that is done; may be told from several threads."""

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

    def task(self, name: str) -> Callable[[float, str], None]:
        """What a function that reports (share done, what is being done) is given."""
        return lambda share, what: self(name, share, what)

    def __call__(self, name: str, share: float, what: str) -> None:
        """Tell how much of a task is done (0–1), and what is being done."""
        with self._lock:
            if self._stream.isatty():
                self._draw(name, share, what)
            else:
                self._say(name, share, what)

    def _draw(self, name: str, share: float, what: str) -> None:
        bar = self._bars.get(name)
        if bar is None:
            bar = self._bars[name] = tqdm(
                total=100,
                desc=f"{name:<11}",
                file=self._stream,
                position=len(self._bars),
                bar_format="{desc} {percentage:3.0f}% |{bar:24}| {elapsed} {postfix}",
            )
        bar.set_postfix_str(what, refresh=False)
        bar.update(100 * share - bar.n)

    def _say(self, name: str, share: float, what: str) -> None:
        now = time.monotonic()
        if share >= 1 or now - self._said.get(name, -EVERY) >= EVERY:
            self._said[name] = now
            took = f"{now - self._start:5.0f} s"
            print(f"{took}  {name:<11} {100 * share:3.0f}%  {what}", file=self._stream, flush=True)
