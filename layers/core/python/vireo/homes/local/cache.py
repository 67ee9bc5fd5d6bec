"""A bounded cache in the process: least recently used entries are evicted, all entries expire."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from vireo.ports import Clock, Meter


class Memory:
    """The cache of all tenants of this process, bounded by number of entries and by bytes."""

    def __init__(
        self, clock: Clock, *, entries: int = 100_000, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self.clock = clock
        self.lock = Lock()
        self._entries = entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def get(self, key: str) -> tuple[bytes, float] | None:
        """Value and monotonic time of expiry; call with the lock held."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept[1] <= self.clock.monotonic():
            self.forget(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def put(self, key: str, value: bytes, expires: float) -> None:
        """Store a value, and evict least recently used ones; call with the lock held."""
        self.forget(key)
        self._kept[key] = value, expires
        self._bytes += len(key) + len(value)
        while self._bytes > self._max_bytes or len(self._kept) > self._entries:
            oldest = next(iter(self._kept))
            self.forget(oldest)

    def forget(self, key: str) -> None:
        """Remove a key; call with the lock held."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(key) + len(kept[0])


class LocalCache:
    """`vireo.ports.Cache` of one tenant, in the process."""

    def __init__(self, memory: Memory, tenant: str, meter: Meter) -> None:
        self._memory = memory
        self._tenant = tenant
        self._meter = meter

    def get(self, key: str) -> bytes | None:
        """See the port."""
        with self._memory.lock:
            kept = self._memory.get(self._name(key))
        return None if kept is None else kept[0]

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """See the port."""
        with self._memory.lock:
            if seconds > 0:
                expires = self._memory.clock.monotonic() + seconds
                self._memory.put(self._name(key), value, expires)
            else:
                self._memory.forget(self._name(key))

    def delete(self, key: str) -> None:
        """See the port."""
        with self._memory.lock:
            self._memory.forget(self._name(key))

    def add(self, key: str, amount: int = 1, *, seconds: float) -> int | None:
        """See the port. The lifetime starts with the first count."""
        name = self._name(key)
        with self._memory.lock:
            value, expires = self._memory.get(name) or (
                b"0",
                self._memory.clock.monotonic() + seconds,
            )
            try:
                count = int(value) + amount
            except ValueError:  # what Redis refuses as well: the key holds no count
                count = None
            else:
                self._memory.put(name, str(count).encode(), expires)
        if count is None:
            self._meter.count("CacheError", operation="add")
        return count

    def add_all(self, amounts: Mapping[str, int], *, seconds: float) -> Mapping[str, int]:
        """See the port."""
        counts = {key: self.add(key, amount, seconds=seconds) for key, amount in amounts.items()}
        return {key: count for key, count in counts.items() if count is not None}

    def _name(self, key: str) -> str:
        return f"{self._tenant}:{key}"
