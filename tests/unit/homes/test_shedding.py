"""The laptop's gateway under load: it tells who is too many to come again, and waits for nobody."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stacks.environments import DEV
from tests.servers import running
from vireo.homes.limits import BURST, RATE
from vireo.homes.local.gateway import Gateway
from vireo.homes.local.rates import CALLERS, Rates

OPERATIONS = [("GET", "/slow", False), ("POST", "/slow", False)]
Answer = tuple[int, str | None, dict[str, Any]]


def ask(port: int, token: str = "a") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    connection.request("GET", "/slow", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.getheader("retry-after"), json.loads(body) if body else {}


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
        while gateway._room._value:
            pass
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
        while not gateway._room._value:
            pass
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
    for n in range(CALLERS):
        assert not rates.take(str(n))
    assert rates.take("0")
    assert not rates.take("new")
    assert rates.take("0"), "it asked a moment ago"
    assert not rates.take("1")


def test_who_sends_a_body_too_slowly_is_not_waited_for() -> None:
    called: list[object] = []

    def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
        called.append(event)
        return {"statusCode": 204}

    gateway = Gateway(handler, claims, OPERATIONS, seconds=0.2)
    with running(gateway) as port, socket.create_connection(("127.0.0.1", port), 15) as slow:
        slow.sendall(
            b"POST /slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\n"
            b"Content-Length: 10\r\n\r\n{"
        )
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    assert called == []


def test_a_laptop_has_the_rates_of_dev() -> None:
    assert (DEV.rate, DEV.burst) == (RATE, BURST)
