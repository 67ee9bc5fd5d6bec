"""The note of an erasure: until when what a person did is to be forgotten, wherever it turns up.

Events of an erased person may still be on their way, or lie in collected files. Whoever reads them
drops what happened up to the moment of the note (REGISTRY, ``erased``, hex key of the user's id).
"""

from __future__ import annotations

from vireo.keys import key_of
from vireo.ports import Put, Record, Records, Table, walk

_KEY = "erased"


def note(user_id: str, at: float) -> Put:
    """The write that notes an erasure at a moment (unix seconds)."""
    return Put(Table.REGISTRY, _KEY, _sort(user_id), {"at": at})


def erased_at(records: Records, user_id: str) -> float | None:
    """When a person was erased last (unix seconds), None if never."""
    found = records.get(Table.REGISTRY, _KEY, _sort(user_id))
    return None if found is None else _moment(found)


def erased(records: Records) -> dict[int, float]:
    """Keys (`vireo.keys`) of the ids of all erased people, and when that was."""
    return {int(found.sort, 16): _moment(found) for found in walk(records, Table.REGISTRY, _KEY)}


def _sort(user_id: str) -> str:
    return f"{key_of(user_id):016x}"


def _moment(found: Record) -> float:
    return float(found.item["at"])
