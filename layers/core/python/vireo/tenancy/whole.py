"""A home that can say what a tenant has. People's commands ask it; requests have no use for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from vireo.ports import Home, Table


class Whole(Home, Protocol):
    """A home whose tenants can be listed whole."""

    #: Seconds after which every accepted event is in a file.
    late: float

    def places(
        self, tenant: str, table: Table, part: int = 0, parts: int = 1
    ) -> Iterator[tuple[str, str]]:
        """Key and sort key of every record of a tenant, expired ones too.

        Those of one key come together. A table has ``parts`` parts, each key in the same one at
        every call; ``part`` counts from 0.
        """
        ...

    def forget(self, tenant: str) -> None:
        """Remove what the home itself keeps of a tenant: neither records nor blobs are left."""
        ...
