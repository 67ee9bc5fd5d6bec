"""Time limits for slow calls: they run in a thread, and the caller waits only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import TypeVar

from vireo.ports import Unavailable

T = TypeVar("T")


class Patience:
    """A small thread pool. A call fails at once when every thread is busy."""

    def __init__(self, workers: int = 16) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="patience")
        self._free = threading.BoundedSemaphore(workers)

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Start a call.

        Raises:
            Unavailable: every thread is still busy with an earlier call.
        """
        if not self._free.acquire(blocking=False):
            raise Unavailable("too many calls have not come back")
        try:
            future = self._pool.submit(call)
        except RuntimeError:
            self._free.release()
            raise
        future.add_done_callback(lambda _: self._free.release())
        return future

    @staticmethod
    def wait(future: Future[T], seconds: float | None) -> T:
        """The result of a call, if it comes within ``seconds`` (None: no limit).

        Raises:
            Unavailable: it did not. The call goes on, and its result is dropped.
        """
        try:
            return future.result(seconds)
        except Late as late:
            raise Unavailable(f"no answer within {seconds} s") from late

    def call(self, call: Callable[[], T], seconds: float) -> T:
        """`start` and `wait`."""
        return self.wait(self.start(call), seconds)
