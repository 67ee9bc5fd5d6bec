"""Progress of long work: the share that is done, and the current activity."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the share that is done (0–1; None if unknown) and the current activity.
Progress = Callable[[float | None, str], None]


def silent(share: float | None, what: str) -> None:
    """Progress that is not shown."""


def within(progress: Progress | None, start: float, stop: float, prefix: str = "") -> Progress:
    """Progress of a part of the work, shown as the whole's progress from ``start`` to ``stop``."""

    def told(share: float | None, what: str) -> None:
        if progress is not None:
            done = None if share is None else start + (stop - start) * share
            progress(done, prefix + what)

    return told


def counted(progress: Progress, what: str) -> Callable[[int, int], None]:
    """Progress in rows; call the result with the number of rows done and the total."""

    def told(done: int, total: int) -> None:
        progress(done / total if total else 1.0, f"{what}: {done:,} of {total:,}")

    return told
