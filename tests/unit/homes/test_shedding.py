"""The laptop's gateway under load: it tells who is too many to come again, and waits for nobody."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from stacks.api import BATCHES
from stacks.environments import DEV
from tests.servers import running
from vireo.homes.limits import BURST, CALL_BYTES, RATE, SHARES
from vireo.homes.local.connections import Impatient
from vireo.homes.local.gateway import Gateway
from vireo.homes.local.rates import BUCKETS, Rates

OPERATIONS = [("GET", "/slow", False), ("POST", "/slow", False)]
Answer = tuple[int, str | None, dict[str, Any]]


def ask(port: int, token: str = "a") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request("GET", "/slow", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.getheader("retry-after"), json.loads(body) if body else {}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def claims(token: str) -> dict[str, Any]:
    return {"client_id": token, "sub": token}


def test_who_is_too_many_is_told_to_come_again_and_can() -> None:
    release, begun = threading.Event(), threading.Semaphore(0)

    def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
        begun.release()
        assert release.wait(15)
        return {"statusCode": 204}

    gateway = Gateway(handler, claims, OPERATIONS, threads=2, waiting=1)
    with running(gateway) as port, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, port) for _ in range(2)]
        for _ in waiting:
            assert begun.acquire(timeout=15)
        waiting.append(pool.submit(ask, port))
        until(lambda: not gateway._room._value)
        status, again, body = ask(port)
        assert (status, again) == (429, "1")
        assert body["error"]["code"] == "too_many_requests"
        release.set()
        assert {w.result()[0] for w in waiting} == {204}
        assert ask(port)[0] == 204


def test_a_request_that_was_given_up_keeps_its_room_until_it_ends() -> None:
    release = threading.Event()

    def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
        assert release.wait(15)
        return {"statusCode": 204}

    gateway = Gateway(handler, claims, OPERATIONS, threads=1, waiting=0, seconds=0.1)
    with running(gateway) as port:
        assert ask(port)[0] == 504
        assert ask(port)[0] == 429, "its thread still works"
        release.set()
        until(lambda: bool(gateway._room._value))
        assert ask(port)[0] == 204


def test_one_client_cannot_take_all() -> None:
    now = [0.0]
    rates = Rates(2, 3, clock=lambda: now[0])
    gateway = Gateway(lambda event, _: {"statusCode": 204}, claims, OPERATIONS, rates=rates)
    with running(gateway) as port:
        assert [ask(port)[0] for _ in range(4)] == [204, 204, 204, 429]
        assert ask(port)[1] == "1"
        assert ask(port, "b")[0] == 204
        now[0] = 0.5
        assert [ask(port)[0] for _ in range(2)] == [204, 429]


def test_a_bucket_fills_to_its_burst_and_no_further() -> None:
    now = [0.0]
    rates = Rates(10, 5, clock=lambda: now[0])
    assert [rates.take("a") for _ in range(5)] == [0.0] * 5
    assert rates.take("a") == pytest.approx(0.1)
    now[0] = 1000.0
    assert [rates.take("a") for _ in range(6)] == [0.0] * 5 + [pytest.approx(0.1)]


def test_callers_that_are_forgotten_are_those_who_asked_longest_ago() -> None:
    rates = Rates(1, 1, clock=lambda: 0.0)
    for n in range(BUCKETS):
        assert not rates.take(str(n))
    assert rates.take("0")
    assert not rates.take("new")
    assert rates.take("0"), "it asked a moment ago"
    assert not rates.take("1")


def test_routes_that_carry_many_things_have_a_share_and_buckets_of_their_own() -> None:
    now = [0.0]
    many = ("POST", "/slow")
    rates = Rates(50, 100, shares={many: 1 / 50}, clock=lambda: now[0])
    gateway = Gateway(lambda event, _: {"statusCode": 204}, claims, OPERATIONS, rates=rates)
    with running(gateway) as port:
        with connected(port) as one:
            statuses = [sent(one, b"POST /slow/ HTTP/1.1", b"2", b"{}") for _ in range(4)]
        assert statuses == [204, 204, 429, 429]
        assert ask(port)[0] == 204
    assert rates.take("a", many) == pytest.approx(1.0)
    now[0] = 1.0
    assert rates.take("a", many) == 0
    assert rates.take("a", ("GET", "/slow")) == rates.take("b", many) == 0


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 15) as one:
        yield one


def begin(one: socket.socket, line: bytes, length: bytes, body: bytes) -> None:
    """Send a request, or the beginning of one."""
    head = b"Host: x\r\nAuthorization: Bearer a\r\nContent-Length: " + length
    one.sendall(line + b"\r\n" + head + b"\r\n\r\n" + body)


def sent(one: socket.socket, line: bytes, length: bytes, body: bytes) -> int:
    """The status of the answer to a request."""
    begin(one, line, length, body)
    answer = http.client.HTTPResponse(one)
    answer.begin()
    answer.read()
    return answer.status


def test_who_sends_a_body_too_slowly_is_not_waited_for() -> None:
    called: list[object] = []

    def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
        called.append(event)
        return {"statusCode": 204}

    gateway = Gateway(handler, claims, OPERATIONS, patience=0.2)
    with running(gateway) as port, connected(port) as slow:
        assert sent(slow, b"POST /slow HTTP/1.1", b"10", b"{") == 408
        assert called == []
        assert ask(port)[0] == 204
        until(lambda: gateway._room._value == 32 + 128)


def test_the_time_that_a_body_took_is_not_the_handler_s() -> None:
    left: list[int] = []

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        left.append(context.get_remaining_time_in_millis())
        return {"statusCode": 204}

    gateway = Gateway(handler, claims, OPERATIONS, seconds=5.0)
    with running(gateway) as port, connected(port) as slow:
        begin(slow, b"POST /slow HTTP/1.1", b"2", b"{")
        time.sleep(1.0)
        slow.sendall(b"}")
        assert slow.recv(100).startswith(b"HTTP/1.1 204")
    assert 4500 < left[0] <= 5000


def test_where_there_is_no_room_no_body_is_read() -> None:
    gateway = Gateway(
        lambda event, _: {"statusCode": 204}, claims, OPERATIONS, threads=1, waiting=1
    )
    with running(gateway) as port, connected(port) as first, connected(port) as second:
        for one in (first, second):
            begin(one, b"POST /slow HTTP/1.1", b"2", b"{")
        until(lambda: not gateway._room._value)
        with connected(port) as third:
            assert sent(third, b"POST /slow HTTP/1.1", b"2000000", b"{") == 429, "at once"
        for one in (first, second):
            one.sendall(b"}")
            assert one.recv(100).startswith(b"HTTP/1.1 204")
        assert ask(port)[0] == 204


@pytest.mark.parametrize("whole", [True, False])
def test_a_body_that_is_too_large_has_no_room_while_it_comes(whole: bool) -> None:
    gateway = Gateway(
        lambda event, _: {"statusCode": 204},
        claims,
        OPERATIONS,
        threads=1,
        waiting=0,
        patience=15.0 if whole else 2.0,
    )
    with running(gateway) as port, connected(port) as large:
        begin(large, b"POST /slow HTTP/1.1", b"%d" % (2 * CALL_BYTES), b" " * (CALL_BYTES + 1))
        until(lambda: ask(port)[0] == 204)
        if whole:
            large.sendall(b" " * (CALL_BYTES - 1))
        assert large.recv(100).startswith(b"HTTP/1.1 413")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(Impatient, "seconds", 0.3)
    rates = Rates(0.001, 1)
    return Gateway(lambda event, _: {"statusCode": 204}, claims, OPERATIONS, rates=rates)


def test_who_sends_a_head_too_slowly_is_not_waited_for(impatient: Gateway) -> None:
    with running(impatient) as port, connected(port) as slow:
        began = time.monotonic()
        with suppress(OSError):
            for letter in b"GET /slow HTTP/1.1\r\nHost: " + b"x" * 1000:
                slow.send(bytes([letter]))
                time.sleep(0.02)
                assert time.monotonic() - began < 5
        head, _, body = slow.recv(4096).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["error"]["code"] == "request_timeout"
        assert slow.recv(100) == b""


def test_who_says_nothing_is_left_without_a_word(impatient: Gateway) -> None:
    with running(impatient) as port, connected(port) as silent:
        assert silent.recv(100) == b""


def test_a_refused_body_keeps_no_connection(impatient: Gateway) -> None:
    """Answered without reading it; then drops of it come for ever."""
    with running(impatient) as port, connected(port) as slow:
        begin(slow, b"POST /nowhere HTTP/1.1", b"1000000", b"{")
        assert slow.recv(4096).startswith(b"HTTP/1.1 404 ")
        end = time.monotonic() + 5
        with pytest.raises(OSError):
            while time.monotonic() < end:
                slow.send(b" ")
                time.sleep(0.02)


def test_a_connection_is_used_again(impatient: Gateway) -> None:
    with running(impatient) as port, connected(port) as one:
        statuses = [sent(one, b"POST /slow HTTP/1.1", b"2", b"{}") for _ in range(2)]
        time.sleep(0.5)
        assert [*statuses, sent(one, b"POST /slow HTTP/1.1", b"2", b"{}")] == [204, 429, 429]


def test_a_laptop_has_the_rates_of_dev() -> None:
    assert (DEV.rate, DEV.burst) == (RATE, BURST)
    assert SHARES == BATCHES
