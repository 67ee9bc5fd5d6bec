"""The cache in Redis or ElastiCache, for both homes: any error is a miss and a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.retry import Retry

from vireo.ports import Clock, Meter

T = TypeVar("T")
#: Seconds without calls after a failure; doubled at every failed probe, up to the maximum.
FIRST_PAUSE, LAST_PAUSE = 0.25, 8.0


class RedisServer:
    """A connection to one server, with a circuit breaker.

    A dead Redis would cost every request its time limit. So a failure opens a pause in which all
    calls are misses at once. After it, one caller at a time probes the server.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        time_limit: float = 0.05,
        credentials: CredentialProvider | None = None,
    ) -> None:
        self._clock = clock
        self._lock = Lock()
        self._failures = 0
        self._closed_until = 0.0
        self._redis = redis.Redis.from_url(
            url,
            credential_provider=credentials,
            socket_timeout=time_limit,
            socket_connect_timeout=time_limit,
            # One retry, for a pooled connection that the server has closed in the meantime.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            health_check_interval=0,
        )

    def ask(self, operation: str, meter: Meter, call: Callable[[redis.Redis], T]) -> T | None:
        """The result of a call; on failure None, and a metric."""
        if not self._admitted():
            meter.count("CacheSkipped", operation=operation)
            return None
        try:
            answer = call(self._redis)
        except redis.ResponseError:  # Redis is well; the key holds something else
            self._succeeded()
            meter.count("CacheError", operation=operation)
            return None
        except (redis.RedisError, OSError):
            self._failed()
            meter.count("CacheError", operation=operation)
            return None
        self._succeeded()
        return answer

    def cache(self, tenant: str, meter: Meter) -> RedisCache:
        """The cache of one tenant."""
        return RedisCache(self, tenant, meter)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _admitted(self) -> bool:
        if not self._failures:
            return True
        with self._lock:
            now = self._clock.monotonic()
            if now < self._closed_until:
                return False
            self._closed_until = now + self._pause()
            return True

    def _pause(self) -> float:
        return float(min(FIRST_PAUSE * 2 ** (self._failures - 1), LAST_PAUSE))

    def _failed(self) -> None:
        with self._lock:
            self._failures = min(self._failures + 1, 16)
            self._closed_until = self._clock.monotonic() + self._pause()

    def _succeeded(self) -> None:
        if self._failures:
            with self._lock:
                self._failures = 0


class RedisCache:
    """`vireo.ports.Cache` of one tenant, in Redis."""

    def __init__(self, server: RedisServer, tenant: str, meter: Meter) -> None:
        self._server = server
        self._tenant = tenant
        self._meter = meter

    def get(self, key: str) -> bytes | None:
        """See the port."""
        name = self._name(key)
        value = self._server.ask("get", self._meter, lambda r: r.get(name))
        return value if isinstance(value, bytes) else None

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """See the port."""
        milliseconds = int(seconds * 1000)
        if milliseconds <= 0:
            self.delete(key)
            return
        name = self._name(key)
        self._server.ask("put", self._meter, lambda r: r.set(name, value, px=milliseconds))

    def delete(self, key: str) -> None:
        """See the port."""
        name = self._name(key)
        self._server.ask("delete", self._meter, lambda r: r.delete(name))

    def add(self, key: str, amount: int = 1, *, seconds: float) -> int | None:
        """See the port. The lifetime starts with the first count."""
        name = self._name(key)

        def count(server: redis.Redis) -> int:
            transaction = server.pipeline(transaction=True)
            transaction.set(name, 0, px=max(int(seconds * 1000), 1), nx=True)
            transaction.incrby(name, amount)
            return int(transaction.execute()[1])

        return self._server.ask("add", self._meter, count)

    def add_all(self, amounts: Mapping[str, int], *, seconds: float) -> Mapping[str, int]:
        """See the port. All go to the server at once, each with its lifetime as in `add`."""

        def count(server: redis.Redis) -> dict[str, int]:
            many = server.pipeline(transaction=False)
            for key, amount in amounts.items():
                name = self._name(key)
                many.set(name, 0, px=max(int(seconds * 1000), 1), nx=True)
                many.incrby(name, amount)
            counts = many.execute(raise_on_error=False)[1::2]
            if wrong := sum(not isinstance(one, int) for one in counts):
                self._meter.count("CacheError", wrong, operation="add")
            return {k: n for k, n in zip(amounts, counts, strict=True) if isinstance(n, int)}

        return (self._server.ask("add", self._meter, count) or {}) if amounts else {}

    def _name(self, key: str) -> bytes:
        return f"{self._tenant}:{key}".encode(errors="surrogatepass")
