"""Evaluation requests made from a log: splits into training events, requests, and their targets.

Three protocols, each a `Split`: `temporal` asks for all that a viewer watches after one moment,
`successive` for every next event of the test period, `leave_one_out` for each viewer's last event.
A request sees only its viewer's earlier events. Watched videos must not be recommended; they are
never targets either, because a log keeps only the first event of a pair.

All examples here are about this log of three viewers:

>>> log.user.tolist()
[0, 1, 0, 1, 0, 2, 1, 0, 0, 1]
>>> log.video.tolist()
[0, 1, 2, 3, 4, 0, 4, 5, 6, 7]
>>> log.time.tolist()
[0.0, 10.0, 60.0, 70.0, 120.0, 130.0, 200.0, 4000.0, 4060.0, 8000.0]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vireo.training.data.log import Log

Mask = NDArray[np.bool_]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """The histories of r requests, oldest event first, as one ragged array."""

    offsets: NDArray[np.int64]  #: [r + 1]
    video: NDArray[np.int32]  #: request j's are video[offsets[j]:offsets[j + 1]]
    time: NDArray[np.float64]  #: unix seconds, beside `video`

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of events of each request: int64 [r]."""
        return np.diff(self.offsets)

    def owner(self) -> NDArray[np.int64]:
        """The request of each event, parallel to `video`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def age(self) -> NDArray[np.int64]:
        """Number of later events in the same history, for each event: 0 for the latest."""
        return np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.video))


@dataclass(frozen=True)
class Requests:
    """r requests, each a viewer and a moment, with the videos watched next as targets.

    A history is a range of `Log.histories()`'s order: positions ``order[start[j]:stop[j]]``.
    """

    user: NDArray[np.int32]  #: [r]
    time: NDArray[np.float64]  #: [r] unix seconds
    pause: NDArray[np.float64]  #: [r] seconds since the viewer's latest event, inf without one
    start: Positions  #: [r] offsets into the order of `Log.histories()`
    stop: Positions  #: [r]
    target_offsets: NDArray[np.int64]  #: [r + 1]
    target: NDArray[np.int32]  #: request j's videos: target[target_offsets[j]:target_offsets[j+1]]

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_targets(self) -> NDArray[np.int64]:
        """Number of targets of each request: int64 [r]."""
        return np.diff(self.target_offsets)

    def target_owner(self) -> NDArray[np.int64]:
        """The request of each target, parallel to `target`."""
        return np.repeat(np.arange(len(self)), self.n_targets)

    def histories(self, log: Log) -> Histories:
        """The viewers' events before the requests, in the order of ``log``."""
        order, _ = log.histories()
        events = order[_ranges(self.start, self.stop)]
        return Histories(_offsets(self.stop - self.start), log.video[events], log.time[events])

    def take(self, which: NDArray[np.int64] | slice) -> Requests:
        """Some of the requests, in the given order."""
        start, stop = self.target_offsets[:-1][which], self.target_offsets[1:][which]
        return Requests(
            user=self.user[which],
            time=self.time[which],
            pause=self.pause[which],
            start=self.start[which],
            stop=self.stop[which],
            target_offsets=_offsets(stop - start),
            target=self.target[_ranges(start, stop)],
        )

    def with_targets(self, chosen: Mask) -> tuple[Requests, Positions]:
        """The requests with a chosen target left, with these targets only; and their positions.

        Args:
            chosen: bool, parallel to `target`.
        """
        counts = np.bincount(self.target_owner()[chosen], minlength=len(self))
        some = replace(self, target=self.target[chosen], target_offsets=_offsets(counts))
        left = np.flatnonzero(counts)
        return some.take(left), left

    def sample(self, count: int, seed: int) -> Requests:
        """At most ``count`` random requests, in their original order."""
        if len(self) <= count:
            return self
        drawn = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self.take(np.sort(drawn))

    @classmethod
    def joined(cls, *parts: Requests) -> Requests:
        """The requests of all parts, which must be from the same log."""
        names = ("user", "time", "pause", "start", "stop", "target")
        return cls(
            target_offsets=_offsets(np.concatenate([p.n_targets for p in parts])),
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in names},
        )


@dataclass(frozen=True)
class Split:
    """A log divided into events for training and tuning, and requests for validation and test.

    Choices (windows, weights, early stopping) are made by models fitted on ``train``, by their
    answers to ``validation``. Models that answer ``test`` are fitted on ``train | tune``.
    """

    protocol: str
    train: Mask  #: [len(log)] events to fit on
    tune: Mask  #: [len(log)] events that `validation` asks for
    validation: Requests
    test: Requests

    @property
    def fit(self) -> Mask:
        """All events before the test that models may be fitted on: bool [len(log)]."""
        return self.train | self.tune


def boundaries(log: Log, cut: float) -> tuple[int, int]:
    """Positions at which validation and test begin: ⌊n · cut⌋ and ⌊n · (1 + cut) / 2⌋.

    >>> boundaries(log, 0.6)
    (6, 8)

    Raises:
        ValueError: a part would be empty, or the log is not in order of time.
    """
    n = len(log)
    first, second = int(n * cut), int(n * (1 + cut) / 2)
    if not 0 < first < second < n:
        raise ValueError(f"{n} events cannot be cut at {cut} into three parts")
    if bool((np.diff(log.time) < 0).any()):
        raise ValueError("the log is not in order of time")
    return first, second


def temporal(log: Log, cut: float = 0.8) -> Split:
    """One moment for all viewers: each is asked once, for everything that they watch after it.

    Train is the first ``cut`` of the events, validation and test half of the rest each. Requests
    are those of viewers with a training event and a target, at the time of the part's first event.

    With a cut of 0.6, events 8 and 9 are the test. Viewers 0 and 1 watch something in it; viewer 2
    does not and is not asked. Both are asked at event 8's time, with all that they did before:

    >>> test = temporal(log, 0.6).test
    >>> test.user.tolist(), test.time.tolist()
    ([0, 1], [4060.0, 4060.0])
    >>> np.split(test.target, test.target_offsets[1:-1])
    [array([6], dtype=int32), array([7], dtype=int32)]
    >>> before = test.histories(log)
    >>> np.split(before.video, before.offsets[1:-1])
    [array([0, 2, 4, 5], dtype=int32), array([1, 3, 4], dtype=int32)]
    """
    first, second = boundaries(log, cut)
    position = np.arange(len(log))
    return Split(
        protocol="temporal",
        train=position < first,
        tune=(position >= first) & (position < second),
        validation=_at_one_moment(log, first, first, second),
        test=_at_one_moment(log, first, second, len(log)),
    )


def successive(
    log: Log, cut: float = 0.8, *, cap: int | None = 20, seed: int = 0, least_history: int = 1
) -> Split:
    """The live feed: each event of a period is predicted from all its viewer's events before it.

    Args:
        log: events in order of time.
        cut: share of the events to train on; validation and test take half of the rest each.
        cap: maximum number of requests of a viewer in a period, drawn by ``seed``; None for all.
        seed: of that draw.
        least_history: minimum number of earlier events; 0 includes viewers' first videos.

    The same two events are asked for, but each at its own moment:

    >>> test = successive(log, 0.6).test
    >>> test.time.tolist(), test.pause.tolist(), test.target.tolist()
    ([4060.0, 8000.0], [60.0, 7800.0], [6, 7])
    """
    first, second = boundaries(log, cut)
    position = np.arange(len(log))
    draw = np.random.default_rng(seed).random(len(log))

    def period(begin: int, end: int) -> Requests:
        asked = (position >= begin) & (position < end) & (_ordinal(log) >= least_history)
        return _at_events(log, _capped(log, np.flatnonzero(asked), draw, cap))

    return Split(
        protocol="successive",
        train=position < first,
        tune=(position >= first) & (position < second),
        validation=period(first, second),
        test=period(second, len(log)),
    )


def leave_one_out(log: Log) -> Split:
    """The last event of every viewer with three or more is the test; the one before it tunes.

    The literature's protocol, kept for comparison: its models are fitted on other viewers' events
    after the moment of a request.

    >>> split = leave_one_out(log)
    >>> split.test.user.tolist(), split.test.target.tolist()
    ([0, 1], [6, 7])
    >>> split.validation.target.tolist()
    [4, 5]
    """
    counts = np.bincount(log.user, minlength=log.n_users)[log.user]
    from_end = counts - 1 - _ordinal(log)
    test, tune = (counts >= 3) & (from_end == 0), (counts >= 3) & (from_end == 1)
    return Split(
        protocol="leave-one-out",
        train=~(test | tune),
        tune=tune,
        validation=_at_events(log, np.flatnonzero(tune)),
        test=_at_events(log, np.flatnonzero(test)),
    )


def asked_between(
    log: Log, begin: int, end: int, *, cap: int | None, seed: int, moments: int = 4
) -> tuple[Requests, Requests]:
    """Requests for a model that knows the events before position ``begin``.

    Returns:
        Next events of [begin, end), at most ``cap`` of a viewer, drawn by ``seed``; and for every
        viewer known before, all that they watch before ``end``, asked at each of several
        ``moments`` between, since a model could overfit to the weekday of a single one.

    >>> following, returning = asked_between(log, 6, 10, cap=None, seed=0, moments=2)
    >>> following.user.tolist(), following.target.tolist()
    ([1, 0, 0, 1], [4, 5, 6, 7])
    >>> returning.user.tolist(), returning.time.tolist()
    ([0, 1, 0, 1], [200.0, 200.0, 4060.0, 4060.0])
    >>> np.split(returning.target, returning.target_offsets[1:-1])[:2]
    [array([5, 6], dtype=int32), array([4, 7], dtype=int32)]
    """
    draw = np.random.default_rng(seed).random(len(log))
    position = np.arange(len(log))
    asked = (position >= begin) & (position < end)
    following = _at_events(log, _capped(log, np.flatnonzero(asked), draw, cap))
    spread = begin + np.arange(moments) * (end - begin) // moments
    returning = [_at_one_moment(log, begin, int(moment), end) for moment in np.unique(spread)]
    return following, Requests.joined(*returning)


def _at_one_moment(log: Log, trained: int, begin: int, end: int) -> Requests:
    """One request per viewer at position ``begin``; targets are their events before ``end``."""
    order, offsets = log.histories()
    before = np.bincount(log.user[:begin], minlength=log.n_users)
    upto = np.bincount(log.user[:end], minlength=log.n_users)
    trained_on = np.bincount(log.user[:trained], minlength=log.n_users)
    user = np.flatnonzero((trained_on > 0) & (upto > before))
    start, stop = offsets[user], offsets[user] + before[user]
    return _requests(
        log,
        user=user,
        time=np.full(len(user), log.time[begin]),
        start=start,
        stop=stop,
        target_offsets=_offsets(upto[user] - before[user]),
        target=log.video[order[_ranges(stop, offsets[user] + upto[user])]],
    )


def _at_events(log: Log, events: Positions) -> Requests:
    """One request just before each of the events, which is its only target."""
    _, offsets = log.histories()
    start = offsets[log.user[events]]
    return _requests(
        log,
        user=log.user[events],
        time=log.time[events],
        start=start,
        stop=start + _ordinal(log)[events],
        target_offsets=np.arange(len(events) + 1),
        target=log.video[events],
    )


def _requests(
    log: Log,
    *,
    user: NDArray[np.integer],
    time: NDArray[np.float64],
    start: Positions,
    stop: Positions,
    target_offsets: NDArray[np.int64],
    target: NDArray[np.int32],
) -> Requests:
    order, _ = log.histories()
    pause = np.full(len(user), np.inf)
    old = stop > start
    pause[old] = time[old] - log.time[order[stop[old] - 1]]
    return Requests(
        user=user.astype(np.int32),
        time=time,
        pause=pause,
        start=start,
        stop=stop,
        target_offsets=target_offsets.astype(np.int64),
        target=target,
    )


def _capped(log: Log, events: Positions, draw: NDArray[np.float64], cap: int | None) -> Positions:
    """At most ``cap`` events of every viewer, those with the lowest draw, in order of the log."""
    if cap is None:
        return events
    ranked = events[np.lexsort((draw[events], log.user[events]))]
    counts = np.bincount(log.user[ranked], minlength=log.n_users)
    rank = np.arange(len(ranked)) - np.repeat(_offsets(counts)[:-1], counts)
    return np.sort(ranked[rank < cap])


def _ordinal(log: Log) -> Positions:
    """Number of earlier events of the same viewer, for each event: int64 [len(log)]."""
    order, offsets = log.histories()
    ordinal = np.empty(len(log), np.int64)
    ordinal[order] = np.arange(len(log)) - np.repeat(offsets[:-1], np.diff(offsets))
    return ordinal


def _offsets(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _ranges(start: Positions, stop: Positions) -> Positions:
    """The concatenated ranges: start[0], …, stop[0] - 1, start[1], …, stop[1] - 1, …"""
    counts = stop - start
    return np.arange(counts.sum()) + np.repeat(start - _offsets(counts)[:-1], counts)
