"""A dead-letter queue: stream records that could not be processed, each with its reason."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import orjson

from vireo.keys import key_of
from vireo.ports import Arrival, Blobs

LETTERS = "dead-letters/"


class DeadLetters:
    """The dead letters of one tenant: a blob each, named by key, shard and position."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def bury(self, arrival: Arrival, reason: str) -> None:
        """Store a record with its reason. Idempotent."""
        letter = {
            "key": arrival.key,
            "shard": arrival.shard,
            "position": str(arrival.position),
            "arrived": arrival.arrived,
            "reason": reason[:1000],
            "payload": base64.b64encode(arrival.payload).decode(),
        }
        name = f"{_folder(arrival.key)}{arrival.shard}-{arrival.position}.json"
        self._blobs.write(name, orjson.dumps(letter))

    def all(self) -> Iterator[tuple[str, Arrival, str]]:
        """Name, record and reason of every letter."""
        for name in self._blobs.names(LETTERS):
            yield name, *self.read(name)

    def names(self, key: str) -> list[str]:
        """Names of the letters of a key, in order of shard and position."""
        return list(self._blobs.names(_folder(key)))

    def read(self, name: str) -> tuple[Arrival, str]:
        """Record and reason of a letter.

        Raises:
            Missing: it is gone.
            ValueError, KeyError, TypeError: it cannot be read.
        """
        letter = orjson.loads(self._blobs.read(name))
        payload = base64.b64decode(letter["payload"])
        place = letter["shard"], int(letter["position"]), letter["arrived"]
        return Arrival(letter["key"], payload, *place), letter["reason"]

    def remove(self, name: str) -> None:
        """Delete a letter."""
        self._blobs.delete(name)

    def forget(self, key: str) -> int:
        """Throw away all letters of a key, and return how many there were."""
        names = self.names(key)
        for name in names:
            self._blobs.delete(name)
        return len(names)


def _folder(key: str) -> str:
    return f"{LETTERS}{key_of(key):016x}/"
