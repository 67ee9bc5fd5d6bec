"""Progress of long work: what share of it is done, and what is being done."""

from __future__ import annotations

from collections.abc import Callable

#: Told the share that is done (0–1; None: nobody knows), and what is being done.
Progress = Callable[[float | None, str], None]


def silent(share: float | None, what: str) -> None:
    """Progress that nobody watches."""


def within(progress: Progress | None, start: float, stop: float, prefix: str = "") -> Progress:
    """Progress of a part of the work, as progress of the whole from ``start`` to ``stop``."""

    def told(share: float | None, what: str) -> None:
        if progress is not None:
            done = None if share is None else start + (stop - start) * share
            progress(done, prefix + what)

    return told


def counted(progress: Progress, what: str) -> Callable[[int, int], None]:
    """Progress of rows: to be called with how many are done, and of how many."""

    def told(done: int, total: int) -> None:
        progress(done / total if total else 1.0, f"{what}: {done:,} of {total:,}")

    return told
