"""What a client sees when something behind the API is slow, broken, damaged or gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.conftest import Client, Laptop, Open, serving
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.ports import Ports, Table, Unavailable
from vireo.recommender.contents import ModelBundle
from vireo.recommender.service import VIEWER_SECONDS, Recommender

KNOWN = "u00169"
#: A whole campaign needs the store and the cache on the path of a request.
CAMPAIGN = {"campaign_id": "launch", "video_ids": ["v000700"], "budget": 1000, "cap": 5}


class Records:
    """Records before which something may happen, told the operation and the table."""

    def __init__(self, records: Any, before: Callable[[str, Table], None]) -> None:
        self._records, self._before = records, before

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._records, name)

        def call(*given: Any, **named: Any) -> Any:
            table = given[0][0].table if name == "write" else given[0]
            self._before(name, table)
            return method(*given, **named)

        return call


class Troubled:
    """A home whose records are troubled while ``trouble`` says so; `vireo.ports.Home`."""

    def __init__(self, laptop: Laptop) -> None:
        self._home = laptop.home
        self.trouble: Callable[[str, Table], None] = lambda operation, table: None

    def open(self, tenant: str) -> Ports:
        ports = self._home.open(tenant)
        return replace(ports, records=Records(ports.records, self._before))

    def _before(self, operation: str, table: Table) -> None:
        self.trouble(operation, table)


@pytest.fixture
def troubled(laptop: Laptop) -> Iterator[tuple[Client, Troubled]]:
    """The API over such a home, after its first answer."""
    home = Troubled(laptop)
    with serving(laptop, home) as client:
        assert client.recommend(KNOWN).body["degraded"] == []
        yield client, home


def down(operation: str, table: Table) -> None:
    raise Unavailable("the store is down")


def test_a_redis_that_refuses_connections(open_copy: Open) -> None:
    laptop = open_copy(redis_url="redis://127.0.0.1:1")
    laptop.ports.records.put(Table.SETTINGS, "campaigns", "launch", CAMPAIGN)
    with serving(laptop) as client:
        for _ in range(3):
            answer = client.recommend("nobody-knows-me")
            assert len(answer.ids) == 20
            # Without a cache nobody knows how often somebody has seen it.
            assert {item["slot"] for item in answer.body["items"]} <= {"organic", "explore"}
    assert laptop.meter.total("CacheError") >= 1
    assert laptop.meter.total("CacheSkipped") >= 1, "a dead cache is not asked every time"


def test_the_same_campaign_with_a_cache(laptop: Laptop) -> None:
    laptop.ports.records.put(Table.SETTINGS, "campaigns", "launch", CAMPAIGN)
    with serving(laptop) as client:
        items = client.recommend("nobody-knows-me").body["items"]
    assert [i["video_id"] for i in items if i["slot"] == "promoted"] == ["v000700"]


def test_a_store_that_is_down(troubled: tuple[Client, Troubled]) -> None:
    client, home = troubled
    own = client.recommend(KNOWN).ids
    home.trouble = down
    answer = client.recommend(KNOWN)
    assert len(answer.ids) == 20
    assert answer.ids != own
    assert answer.body["degraded"] == ["viewer"]
    assert client.laptop.meter.total("Degraded", part="viewer") == 1
    assert client.call("GET", "/v1/trending").status == 200
    for method, path, body in (
        ("GET", f"/v1/users/{KNOWN}", None),
        ("PUT", "/v1/videos/new", {"title": "New"}),
        ("DELETE", f"/v1/videos/{own[0]}", None),
    ):
        refused = client.call(method, path, body)
        assert (refused.status, refused.body["error"]["code"]) == (503, "unavailable")
    client.laptop.clock.advance(31)
    assert client.recommend(KNOWN).body["degraded"] == ["overlay", "viewer"]
    assert client.laptop.meter.total("OverlayFailed") >= 1
    home.trouble = lambda *_: None
    client.later(10)
    assert client.recommend(KNOWN).body["degraded"] == []


def test_a_caller_that_is_not_known_yet_while_the_store_is_down(
    troubled: tuple[Client, Troubled],
) -> None:
    client, home = troubled
    stranger = client.laptop.token(tenant="acme")
    home.trouble = down
    refused = client.call("GET", "/v1/trending", token=stranger)
    assert (refused.status, refused.body["error"]["code"]) == (503, "unavailable")


def test_a_store_slower_than_its_time_limit(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recommender.__init__, "__kwdefaults__", {"viewer_seconds": VIEWER_SECONDS})
    release, home = threading.Event(), Troubled(laptop)

    def stall(operation: str, table: Table) -> None:
        if table is Table.VIEWERS:
            release.wait(20)

    with serving(laptop, home) as client:
        assert len(client.recommend("nobody-knows-me").ids) == 20
        home.trouble = stall
        began = time.monotonic()
        answers = [client.recommend(KNOWN) for _ in range(20)]
        took = time.monotonic() - began
        release.set()
    assert all(len(answer.ids) == 20 for answer in answers)
    assert {tuple(answer.body["degraded"]) for answer in answers} == {("viewer",)}
    assert took < 10, "the store would have let each of them wait for twenty seconds"


def test_who_and_what_nobody_knows(client: Client) -> None:
    assert client.call("GET", "/v1/users/nobody").body["error"]["code"] == "unknown_user"
    assert client.call("GET", "/v1/videos/nothing").body["error"]["code"] == "unknown_video"
    similar = client.call("GET", "/v1/videos/nothing/similar")
    assert (similar.status, similar.body["error"]["code"]) == (404, "unknown_video")
    answer = client.recommend(
        "nobody",
        session=[{"video_id": "nothing"}],
        exclude=["nothing-either"],
        context={"device": "toaster", "country": "AQ", "language": "tlh"},
    )
    assert len(answer.ids) == 20
    assert answer.body["degraded"] == []


def test_an_empty_history(client: Client) -> None:
    assert client.call("PUT", "/v1/users/anna", {"country": "DE"}).status == 200
    answer = client.recommend("anna")
    assert len(answer.ids) == 20
    assert answer.body["degraded"] == []


def test_a_tenant_without_a_model(client: Client) -> None:
    other = client.laptop.token(tenant="acme")
    answer = client.call("POST", "/v1/recommendations", {"user_id": KNOWN}, token=other)
    assert (answer.status, answer.body["error"]["code"]) == (503, "no_model")
    assert len(client.recommend(KNOWN).ids) == 20


def republish(laptop: Laptop, version: str) -> None:
    """The bundle that serves, under another version."""
    bundle = bundles.fetch(laptop.ports.blobs, "first", Path(laptop.ports.scratch), ModelBundle)
    manifest = bundle.manifest.model_copy(update={"version": version})
    bundles.publish(replace(bundle, manifest=manifest), laptop.ports.blobs)


def switch(laptop: Laptop, version: str) -> None:
    seen = pointer.current(laptop.ports.records)
    pointer.switch(laptop.ports.records, version, expect=seen)


def flip_a_byte(ports: Ports) -> None:
    name = "bundles/bad/columns/titles.npy"
    data = bytearray(ports.blobs.read(name))
    data[len(data) // 2] ^= 1
    ports.blobs.write(name, bytes(data))


def lose_a_file(ports: Ports) -> None:
    ports.blobs.delete("bundles/bad/index.faiss")


def change(**fields: Any) -> Callable[[Ports], None]:
    def changed(ports: Ports) -> None:
        name = "bundles/bad/manifest.json"
        ports.blobs.write(name, orjson.dumps(orjson.loads(ports.blobs.read(name)) | fields))

    return changed


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flip_a_byte, id="a flipped byte"),
        pytest.param(lose_a_file, id="a missing file"),
        pytest.param(change(schema_version=2), id="another schema"),
        pytest.param(change(embedder_id="other/1"), id="another embedder"),
        pytest.param(change(version="third"), id="another bundle's manifest"),
    ],
)
def test_a_damaged_bundle_under_the_pointer(
    client: Client, damage: Callable[[Ports], None]
) -> None:
    laptop = client.laptop
    before = client.recommend(KNOWN).ids
    republish(laptop, "bad")
    damage(laptop.ports)
    switch(laptop, "bad")
    for _ in range(3):
        client.later(30)
        answer = client.recommend(KNOWN)
        assert answer.body["model_version"] == "first"
        assert answer.ids == before
        assert answer.body["degraded"] == []
    assert laptop.meter.total("BundleRefused") == 1
    republish(laptop, "good")
    switch(laptop, "good")
    client.later(30)
    assert client.recommend(KNOWN).body["model_version"] == "good"


def test_bundles_are_swapped_under_load(client: Client) -> None:
    laptop = client.laptop
    versions = [f"v{j}" for j in range(4)]
    for version in versions:
        republish(laptop, version)
    assert client.recommend(KNOWN).body["model_version"] == "first"
    answers: list[tuple[int, str, int]] = []
    stop = threading.Event()

    def ask(number: int) -> None:
        while not stop.is_set():
            answer = client.recommend(f"u{number:05d}")
            answers.append(
                (answer.status, answer.body.get("model_version"), len(answer.body["items"]))
            )

    threads = [threading.Thread(target=ask, args=(j,)) for j in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    try:
        for version in ("first", *versions):
            if version != "first":
                switch(laptop, version)
                laptop.clock.advance(30)
            while not any(v == version for _, v, _ in answers):
                assert time.monotonic() < deadline
                stop.wait(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert {status for status, _, _ in answers} == {200}
    assert {count for _, _, count in answers} == {20}
    assert {version for _, version, _ in answers} >= {"first", *versions}
