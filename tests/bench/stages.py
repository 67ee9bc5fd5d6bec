"""One request, three ways: whole as an event of API Gateway, by stages, and the bare kernels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time, thread_time
from typing import Any, TypeVar

import numpy as np

from recommend.app import build
from tests.bench import ranker
from tests.bench.events import LIMIT, TENANT, event_of
from tests.bench.floor import Floor
from tests.bench.world import World
from vireo.ports import Home, Page, Ports, Records, Table
from vireo.recommender.candidates import Retrieval, candidates, encode_viewer
from vireo.recommender.features import features
from vireo.recommender.filtering import Filtering
from vireo.recommender.ordering import Ordering
from vireo.recommender.ranking import Ranking
from vireo.recommender.reasons import reasons
from vireo.recommender.request import Request
from vireo.recommender.serving import Serving
from vireo.recommender.slate import Slate
from vireo.viewers.viewer import Viewer

T = TypeVar("T")


class Store:
    """Records that say how much CPU time reading a viewer took, which is the store's own."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.spent = 0.0

    def query(self, table: Table, key: str, **named: Any) -> Page:
        began = thread_time()
        try:
            return self._records.query(table, key, **named)
        finally:
            if table is Table.VIEWERS:
                self.spent += thread_time() - began

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)


class Measured:
    """The home of a world with its store measured."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.store: Store | None = None

    def open(self, tenant: str) -> Ports:
        ports = self._home.open(tenant)
        if tenant != TENANT:
            return ports
        self.store = Store(ports.records)
        return replace(ports, records=self.store)


class Bench:
    """One world, loaded and ready to be asked.

    What is measured in a round are three viewers far apart in the list, each asked one way, so
    that none finds what the other has just brought into the processor's caches.
    """

    def __init__(self, world: World, cache: Path, requests: int) -> None:
        self.world = world
        self._home = Measured(world.home)
        self._api = build(self._home)
        ports = world.home.open(TENANT)
        self._records = ports.records
        self.snapshot = Serving(ports).view()[0].snapshot
        self.users = world.users[: max(1, requests)]
        twin = ranker.twin(cache)
        self._floors = [self._floor(user, twin) for user in self.users]

    def measure(self, number: int) -> dict[str, float]:
        """CPU seconds of everything there is to measure of one request."""
        third = len(self.users) // 3
        one, two, three = ((number + j * third) % len(self.users) for j in range(3))
        handler, _ = self.handle(self.users[one], number)
        stages, _, _ = self.stages(self.users[two], odd=bool(number % 2))
        floor = self._floors[three]()
        kernels = {f"  bare {name}": spent for name, spent in floor.items()}
        return {**handler, **stages, "floor": sum(floor.values()), **kernels}

    def handle(self, user: str, number: int) -> tuple[dict[str, float], Any]:
        """The whole handler, and what it answered.

        ``handler``: CPU of all threads without the store's; ``own thread``: of the one that was
        called; ``store``: of reading the viewer's record.
        """
        store = self._home.store
        before = store.spent if store is not None else 0.0
        began, own = process_time(), thread_time()
        response = self._api.resolve(event_of(user, number), None)
        spent, own = process_time() - began, thread_time() - own
        answer = json.loads(response["body"])
        store = self._home.store
        if response["statusCode"] != 200 or store is None:
            raise RuntimeError(f"no recommendations: {answer}")
        reading = store.spent - before
        return {"handler": spent - reading, "own thread": own, "store": reading}, answer

    def stages(self, user: str, *, odd: bool) -> tuple[dict[str, float], Request, Slate]:
        """Stage by stage, with parts of stages indented; the request and its filtered slate."""
        laps: dict[str, float] = {}

        def lap(name: str, call: Callable[[], T]) -> T:
            began = thread_time()
            made = call()
            laps[name] = thread_time() - began
            return made

        packed = self._packed(user)
        request = lap("request", lambda: self._request(user, packed))
        lap("eligible", lambda: request.eligible)
        slate = lap("candidates", lambda: candidates(request))
        query = lap("  user tower", lambda: encode_viewer(request))
        index, trees = self.snapshot.index, self.snapshot.loaded.ranker
        assert query is not None
        assert index is not None
        assert trees is not None
        k = Retrieval.of(self.snapshot.bundle.config).tower
        ways = [("  search", request.eligible), ("  search unfiltered", None)]
        for name, eligible in ways[:: -1 if odd else 1]:  # the second finds warm caches
            lap(name, partial(index.search, query, k, eligible))
        filtered = lap("filtering", lambda: Filtering()(request, slate))
        ranked = lap("ranking", lambda: Ranking()(request, filtered))
        matrix = lap("  features", lambda: features(request, filtered))
        lap("  trees", lambda: trees.predict(matrix))
        ordered = lap("ordering", lambda: Ordering()(request, ranked))
        lap("reasons", lambda: reasons(request, ordered))
        return laps, request, filtered

    def request(self, user: str) -> Request:
        """The question of a viewer."""
        return self._request(user, self._packed(user))

    def _packed(self, user: str) -> bytes:
        found = self._records.get(Table.VIEWERS, user)
        assert found is not None
        packed: bytes = found.item["viewer"]
        return packed

    def _request(self, user: str, packed: bytes) -> Request:
        return Request.of(
            self.snapshot,
            Viewer.unpack(packed),
            self.world.home.clock.now(),
            limit=LIMIT,
            device="tv",
            user_id=user,
        )

    def _floor(self, user: str, twin: Any) -> Floor:
        """The kernels for a viewer. Asking for their input warms the process up."""
        _, request, ranked = self.stages(user, odd=False)
        index = self.snapshot.index
        assert index is not None
        return Floor(
            request,
            index.take(request.history)[:, :-1],
            np.ascontiguousarray(features(request, ranked)),
            twin,
            self.handle(user, 0)[1],
        )
