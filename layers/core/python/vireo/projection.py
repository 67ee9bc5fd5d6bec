"""The runner that makes any projection idempotent and ordered, so that none does it itself.

A projection is a state that follows a stream: a viewer follows events, an index follows records. A
stream delivers at least once and in order within a key; consumers die between two writes, overlap,
and meet what they cannot read. So the runner keeps with every state the position up to which it
has followed, and the identities of the last changes, each with the position that it first came at.
Whether a record counts can then be told again, and alike, however often it is delivered: what
follows the same stream further down (counters, say) needs a position of its own and nothing more.
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

#: So many identities are remembered with a state, 16 bytes each. A batch must not be larger.
WINDOW = 1024
#: How often a state is read again when others write it meanwhile.
_ATTEMPTS = 10
#: After so many states that a store did not take, the rest of a batch is not tried.
_GIVE_UP = 3

S = TypeVar("S")
C = TypeVar("C")


class Poison(ValueError):
    """A record that can never be followed; the text says why."""


@dataclass(frozen=True, slots=True)
class Change(Generic[C]):
    """What a record says."""

    arrival: Arrival
    identity: str | None  #: another record of the same identity says the same again
    what: C


class Standing(Enum):
    """How a change stands to what a state has followed already."""

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
    """What a state has followed already."""

    position: int = -1
    recent: Keys = field(default_factory=_no_pairs)  #: [n, 2], identity and position
    older: Keys = field(default_factory=_no_pairs)  #: the same, of before
    new: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, item: Item | None, older: bytes = b"") -> Self:
        """What `item` gave, and beside it the older identities (see `settle`)."""
        if item is None or "position" not in item:
            return cls()
        return cls(int(item["position"]), _pairs(item["seen"]), _pairs(older))

    def standing(self, change: Change[Any]) -> Standing:
        """Whether a change is new, the one that counted, or a repeat of the one that did."""
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
        """This record is the one that counts."""
        self.position = change.arrival.position
        if change.identity is not None:
            self.new[key_of(change.identity)] = key_of(str(change.arrival.position))

    def __len__(self) -> int:
        """Identities that `item` has."""
        return len(self.recent) + len(self.new)

    def item(self) -> Item:
        """What is to be kept in the record of the state."""
        new = np.array(list(self.new.items()), np.uint64).reshape(-1, 2)
        seen = np.concatenate([self.recent, new])[-WINDOW:]
        return {"position": str(self.position), "seen": seen.tobytes()}

    def settle(self) -> bytes:
        """All identities, to be kept beside the record, which then begins without any."""
        seen = np.concatenate([self.older, _pairs(self.item()["seen"])])[-WINDOW:]
        self.older, self.recent, self.new = seen, _no_pairs(), {}
        return seen.tobytes()


class Projection(Protocol[S, C]):
    """States that follow changes, one for every key."""

    def read(self, key: str) -> tuple[S, Memory]:
        """The state of a key, or the first of all, and what it has followed.

        Raises:
            Conflict: its rows do not fit together, because somebody is writing them.
            ValueError: it cannot be read, and never will be.
        """
        ...

    def apply(self, state: S, change: Change[C]) -> S:
        """The state after the change."""
        ...

    def writes(self, state: S, memory: Memory) -> Sequence[Put]:
        """The state and its memory, on condition that nobody wrote them since they were read.

        Raises as `read` does.
        """
        ...


@dataclass(frozen=True)
class Followed(Generic[C]):
    """What became of a batch."""

    counted: list[Change[C]]  #: the first of every identity, in order, all before ``failed``
    repeated: int  #: records that said again what was counted
    buried: int  #: dead letters
    failed: int | None  #: position of the first record that must come again


def follow(
    batch: Sequence[Arrival],
    projection: Projection[S, C],
    read: Callable[[Arrival], Change[C] | None],
    *,
    records: Records,
    letters: DeadLetters,
) -> Followed[C]:
    """Let the states follow the records of one shard.

    Args:
        batch: in order of position, at most `WINDOW`.
        read: a record's change; None for one that does not concern the projection. Raises `Poison`.
        records: where the states are.
        letters: where what cannot be followed goes, with its reason. It holds up nothing.
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
    """Let one state follow its changes: one conditional write, whoever else writes it.

    Args:
        records: where the states are.

    Returns:
        the changes, each with whether it is the one that counts of its identity; without those
        that were buried.

    Raises:
        Unavailable: nothing was written, or nobody knows. The changes must come again.
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
    """The state after the changes, what was judged of each, and whether any was new."""
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
    """All or none; a transaction costs twice as much, so one row alone needs none."""
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
