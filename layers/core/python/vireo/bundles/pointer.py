"""Pointers to the bundle that serves, one for each kind of bundle, moved by conditional writes."""

from __future__ import annotations

from dataclasses import dataclass

from vireo.ports import Missing, Records, Table

#: Name of the pointer to the recommender's models; other kinds of bundles have other names.
SERVING = "serving"


@dataclass(frozen=True)
class Pointer:
    """The serving bundle, the one before it, and the record version for conditional writes."""

    version: str
    previous: str | None
    record: int


def current(records: Records, name: str = SERVING) -> Pointer | None:
    """The pointer of that name, or None before the first deployment."""
    found = records.get(Table.REGISTRY, name)
    if found is None:
        return None
    return Pointer(found.item["version"], found.item.get("previous"), found.version)


def switch(
    records: Records, version: str, *, expect: Pointer | None, name: str = SERVING
) -> Pointer:
    """Make ``version`` the serving bundle, if the pointer is still ``expect``.

    Raises:
        Conflict: another deployment moved the pointer in between; nothing changed.
    """
    previous = None if expect is None else expect.version
    record = records.put(
        Table.REGISTRY,
        name,
        "",
        {"version": version, "previous": previous},
        expect=0 if expect is None else expect.record,
    )
    return Pointer(version, previous, record)


def rollback(records: Records, name: str = SERVING) -> Pointer:
    """Make the previous bundle serve again.

    Raises:
        Missing: there is no previous bundle.
        Conflict: a deployment moved the pointer meanwhile.
    """
    pointer = current(records, name)
    if pointer is None or pointer.previous is None:
        raise Missing("no earlier bundle to go back to")
    return switch(records, pointer.previous, expect=pointer, name=name)
