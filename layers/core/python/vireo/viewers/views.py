"""The videos that a viewer has viewed lately, so that nobody counts twice for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vireo.keys import key_of

#: Number of videos for which a viewer counts in a window. A busy week has fewer; beyond it no more
#: are counted, instead of forgetting the oldest, or turns of many videos would count again and
#: again. 10 KB.
VIEWED = 1024
#: What is left of a video's key and of an event's position on the stream, and the period modulo
#: 65,536. Two videos or events of a viewer are taken for one with a probability of 2⁻³² each, and
#: nobody can choose a position, as they can an event's id.
_ROW = np.dtype([("video", "<u4"), ("event", "<u4"), ("period", "<u2")])
_PERIODS = 1 << 16


def _none() -> NDArray[np.void]:
    return np.zeros(0, _ROW)


class View(NamedTuple):
    """A view as it is kept: what is left of its video's key and its event's position, and when."""

    video: int  #: the last 32 bits of the video's key
    event: int  #: the last 32 bits of the hash of its event's position
    period: int


@dataclass
class Views:
    """The views of one viewer in the window: a video each, and the event that was its view.

    The first positive event of a video is the view; for as long as the window lasts, no other one
    is. Its event is kept, so that it is told again after a crash (docs/decisions/0014).
    """

    window: int  #: number of periods in which a video has one view
    older: NDArray[np.void] = field(default_factory=_none)  #: from before the last `settle`
    recent: NDArray[np.void] = field(default_factory=_none)  #: since then

    @classmethod
    def of(cls, window: int, older: bytes = b"", recent: bytes = b"") -> Views:
        """The inverse of `settle` and `packed`."""
        return cls(window, np.frombuffer(older, _ROW), np.frombuffer(recent, _ROW))

    def add(self, video: int, position: int, period: int) -> None:
        """Take a positive event for the view of its video, unless there is one in the window."""
        last = self._last(video)
        if last is not None and self._within(last["period"], period):
            return
        if len(self.older) + len(self.recent) >= VIEWED:
            self.older = self._living(self.older, period)
            self.recent = self._living(self.recent, period)
        if len(self.older) + len(self.recent) < VIEWED:
            row = (video % 2**32, _mark(position), period % _PERIODS)
            self.recent = np.append(self.recent, np.array([row], _ROW))

    def has(self, video: int, position: int) -> bool:
        """True if the event at that position was the view of its video."""
        last = self._last(video)
        return last is not None and bool(last["event"] == _mark(position))

    def packed(self) -> bytes:
        """The views since the last settlement, to be stored with every event."""
        return self.recent.tobytes()

    def settle(self, period: int) -> bytes:
        """Move the recent views to the older ones and return all in the window, packed."""
        together = np.concatenate([self.older, self.recent])
        self.older, self.recent = self._living(together, period), _none()
        return self.older.tobytes()

    def rows(self, period: int) -> list[View]:
        """All that is kept, older ones first; ``period`` is the current one."""
        found = np.concatenate([self.older, self.recent])
        # Modulo 65,536 as they are kept, and at most half of that ahead of or behind this one.
        ahead = (found["period"].astype(np.int64) - period + _PERIODS // 2) % _PERIODS
        periods = period + ahead - _PERIODS // 2
        columns = (found["video"], found["event"], periods)
        return [View(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def _last(self, video: int) -> np.void | None:
        for rows in (self.recent, self.older):
            known = np.flatnonzero(rows["video"] == np.uint32(video % 2**32))
            if len(known):
                row: np.void = rows[known[-1]]
                return row
        return None

    def _within(self, then: int, period: int) -> bool:
        """True if ``period`` is less than a window after ``then`` (modulo 65,536), or before it."""
        since = (period - int(then)) % _PERIODS
        return since < self.window or since >= _PERIODS // 2

    def _living(self, rows: NDArray[np.void], period: int) -> NDArray[np.void]:
        since = (period - rows["period"].astype(np.int64)) % _PERIODS
        return rows[(since < self.window) | (since >= _PERIODS // 2)]


def _mark(position: int) -> int:
    return key_of(str(position)) % 2**32
