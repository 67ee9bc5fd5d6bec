"""The runner of projections. It makes each of them idempotent and ordered.

A projection is a state that follows a stream: a viewer follows events, an index follows records.
The stream delivers at least once, and in order within a key. Consumers crash between two writes,
overlap, and meet records that they cannot read. The runner therefore stores two things with every
state: the position up to which it has followed, and the identities of its last changes, each with
the position of the record that brought it first. From these, every delivery of a record gives the
same decision on whether it counts. A projection further down the same stream (counters, say) only
needs to store a position of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from vireo.keys import Keys, key_of
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Conflict, Item, Put, Records, Refused, Unavailable

log = logging.getLogger(__name__)

#: Number of identities stored with a state, 16 bytes each; also the largest batch.
WINDOW = 1024
#: Attempts to write a state while others write it, too.
_ATTEMPTS = 10
#: Failed writes after which the rest of a batch is not tried.
_GIVE_UP = 3

S = TypeVar("S")
C = TypeVar("C")


class Poison(ValueError):
    """A record that can never be processed; the message says why."""


@dataclass(frozen=True, slots=True)
class Change(Generic[C]):
    """The content of a record."""

    arrival: Arrival
    identity: str | None  #: records of the same identity are repeats of one change
    what: C


class Standing(Enum):
    """The status of a change with respect to a state."""

    NEW = "new"  #: not followed yet
    COUNTED = "counted"  #: followed: this record is the one that counts of its identity
    REPEAT = "repeat"  #: another record of the same identity counts


def _standing(counts: bool) -> Standing:
    return Standing.COUNTED if counts else Standing.REPEAT


def _pairs(packed: bytes) -> Keys:
    return np.frombuffer(packed, np.uint64).reshape(-1, 2)


def _no_pairs() -> Keys:
    return _pairs(b"")


@dataclass
class Memory:
    """The part of a stream that a state has followed."""

    position: int = -1
    recent: Keys = field(default_factory=_no_pairs)  #: [n, 2], identity and position
    older: Keys = field(default_factory=_no_pairs)  #: the same, from before the last `settle`
    new: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, item: Item | None, older: bytes = b"") -> Self:
        """The memory that `item` stored, with the older identities from `settle`."""
        if item is None or "position" not in item:
            return cls()
        return cls(int(item["position"]), _pairs(item["seen"]), _pairs(older))

    def standing(self, change: Change[Any]) -> Standing:
        """The status of a change: new, the one that counted, or a repeat of it."""
        position = change.arrival.position
        if change.identity is None:
            return Standing.NEW if position > self.position else Standing.COUNTED
        identity, mark = key_of(change.identity), key_of(str(position))
        if identity in self.new:
            return _standing(self.new[identity] == mark)
        older = self.older[max(0, len(self.older) + len(self.recent) - WINDOW) :]
        for seen in (self.recent, older):
            known = np.flatnonzero(seen[:, 0] == np.uint64(identity))
            if len(known):
                return _standing(bool(seen[known[-1], 1] == np.uint64(mark)))
        return Standing.NEW if position > self.position else Standing.REPEAT

    def remember(self, change: Change[Any]) -> None:
        """Record a change as the one that counts of its identity."""
        self.position = change.arrival.position
        if change.identity is not None:
            self.new[key_of(change.identity)] = key_of(str(change.arrival.position))

    def __len__(self) -> int:
        """Number of identities in `item`."""
        return len(self.recent) + len(self.new)

    def item(self) -> Item:
        """The fields to be stored in the state's record."""
        new = np.array(list(self.new.items()), np.uint64).reshape(-1, 2)
        seen = np.concatenate([self.recent, new])[-WINDOW:]
        return {"position": str(self.position), "seen": seen.tobytes()}

    def settle(self) -> bytes:
        """Move all identities out of `item` and return them packed, to be stored beside it."""
        seen = np.concatenate([self.older, _pairs(self.item()["seen"])])[-WINDOW:]
        self.older, self.recent, self.new = seen, _no_pairs(), {}
        return seen.tobytes()


class Projection(Protocol[S, C]):
    """The states that follow changes, one per key."""

    def read(self, key: str) -> tuple[S, Memory]:
        """The state of a key (or the initial state) and its memory.

        Raises:
            Conflict: its rows are inconsistent, because another process is writing them.
            ValueError: it is unreadable, and will remain so.
        """
        ...

    def apply(self, state: S, change: Change[C]) -> S:
        """The state after the change."""
        ...

    def writes(self, state: S, memory: Memory) -> Sequence[Put]:
        """Writes of the state and its memory, conditional on no other write since `read`.

        Raises as `read` does.
        """
        ...


@dataclass(frozen=True)
class Followed(Generic[C]):
    """The outcome of a batch."""

    counted: list[Change[C]]  #: the first of every identity, by position, all before ``failed``
    repeated: int  #: repeats of changes that were counted
    buried: int  #: dead letters
    failed: int | None  #: position of the first record that must be redelivered


def follow(
    batch: Sequence[Arrival],
    projection: Projection[S, C],
    read: Callable[[Arrival], Change[C] | None],
    *,
    records: Records,
    letters: DeadLetters,
) -> Followed[C]:
    """Apply a batch of one shard's records to the states.

    Args:
        batch: in order of position, at most `WINDOW`.
        projection: the states, and how a change is applied to them.
        read: the change in a record, or None if it is not for the projection. Raises `Poison`.
        records: the store of the states.
        letters: the dead-letter queue, for records that cannot be applied; they block no others.
    """
    failed: list[int] = []
    judged: list[tuple[Change[C], bool]] = []
    buried = 0

    def bury(arrival: Arrival, reason: str) -> None:
        nonlocal buried
        letters.bury(arrival, reason)
        buried += 1

    by_key: dict[str, list[Change[C]]] = {}
    for arrival in batch:
        try:
            change = read(arrival)
        except Poison as poison:
            try:
                bury(arrival, str(poison))
            except Unavailable:
                failed.append(arrival.position)
        else:
            if change is not None:
                by_key.setdefault(arrival.key, []).append(change)
    troubles = 0
    for key, changes in by_key.items():
        try:
            if troubles == _GIVE_UP:
                raise Unavailable("the store takes nothing now")
            judged += advance(records, projection, key, changes, bury)
        except Unavailable:
            troubles = min(troubles + 1, _GIVE_UP)
            failed.append(changes[0].arrival.position)
    end = min(failed, default=None)
    if end is not None:
        judged = [(c, counts) for c, counts in judged if c.arrival.position < end]
    counted = [change for change, counts in judged if counts]
    counted.sort(key=lambda change: change.arrival.position)
    return Followed(counted, len(judged) - len(counted), buried, end)


def advance(
    records: Records,
    projection: Projection[S, C],
    key: str,
    changes: Sequence[Change[C]],
    bury: Callable[[Arrival, str], None],
) -> list[tuple[Change[C], bool]]:
    """Apply changes to one state by one conditional write, repeated if other processes interfere.

    Args:
        records: the store of the states.
        projection: the states, and how a change is applied to them.
        key: of the state.
        changes: in order of position.
        bury: sends a record to the dead-letter queue, with a reason.

    Returns:
        the changes that were not buried, each with whether it counts (the first of its identity).

    Raises:
        Unavailable: nothing was written, or the outcome is unknown; redelivery is needed.
    """
    for _ in range(_ATTEMPTS):
        try:
            state, memory = projection.read(key)
            state, judged, moved = _moved(projection, state, memory, changes, bury)
            if moved:
                _write(records, projection.writes(state, memory))
        except Conflict:
            continue
        except Refused as refused:
            return _bury_all(changes, f"the state cannot be written: {refused}", bury)
        except ValueError as error:
            return _bury_all(changes, f"the state cannot be read: {error}", bury)
        return judged
    raise Unavailable(f"the state of {key} is written by others all the time")


def _moved(
    projection: Projection[S, C],
    state: S,
    memory: Memory,
    changes: Sequence[Change[C]],
    bury: Callable[[Arrival, str], None],
) -> tuple[S, list[tuple[Change[C], bool]], bool]:
    """The state after the changes, whether each change counts, and whether any was new."""
    judged: list[tuple[Change[C], bool]] = []
    moved = False
    for change in changes:
        standing = memory.standing(change)
        if standing is Standing.NEW:
            try:
                state = projection.apply(state, change)
            except (ValueError, ArithmeticError, LookupError, TypeError) as error:
                log.exception("a change could not be applied")
                bury(change.arrival, f"cannot be applied: {error!r}")
                continue
            memory.remember(change)
            standing, moved = Standing.COUNTED, True
        judged.append((change, standing is Standing.COUNTED))
    return state, judged, moved


def _write(records: Records, writes: Sequence[Put]) -> None:
    """Write atomically. One row needs no transaction, which costs twice as much."""
    if len(writes) > 1:
        records.write(writes)
        return
    [put] = writes
    records.put(put.table, put.key, put.sort, put.item, expect=put.expect, expires=put.expires)


def _bury_all(
    changes: Sequence[Change[C]], reason: str, bury: Callable[[Arrival, str], None]
) -> list[tuple[Change[C], bool]]:
    for change in changes:
        bury(change.arrival, reason)
    return []
