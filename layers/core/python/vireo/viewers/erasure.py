"""Notes of erasure: the moment up to which a person's events must be ignored.

Events of an erased person may still be on the stream, or lie in collected files. Every reader drops
those up to the moment in the note (REGISTRY, ``erased``, hex key of the user's id).
"""

from __future__ import annotations

from vireo.keys import key_of
from vireo.ports import Put, Record, Records, Table, walk

_KEY = "erased"
#: Later than any event, in unix seconds: the end of the year 9999.
_END = 253402300800.0


def note(user_id: str, at: float) -> Put:
    """The write that records an erasure at a moment (unix seconds)."""
    return Put(Table.REGISTRY, _KEY, _sort(user_id), {"at": at})


def erased_at(records: Records, user_id: str) -> float | None:
    """The time of a person's last erasure (unix seconds), None if there was none.

    Of a note that cannot be read, the end of time: what was erased must not come back.
    """
    found = records.get(Table.REGISTRY, _KEY, _sort(user_id))
    return None if found is None else _moment(found)


def erased(records: Records) -> dict[int, float]:
    """Times of erasure (unix seconds) by the key (`vireo.keys`) of the erased person's id."""
    return {int(found.sort, 16): _moment(found) for found in walk(records, Table.REGISTRY, _KEY)}


def _sort(user_id: str) -> str:
    return f"{key_of(user_id):016x}"


def _moment(found: Record) -> float:
    return float(found.item.get("at", _END))
