"""A small home that was really trained, by the state machine that is deployed, and its API on HTTP.

Training happens once; every test works in a copy of that folder, with a clock of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc
import pytest

from delivery.app import transform
from services import build
from tests.witness import Witness
from tracking.app import follower
from vireo.bundles import pointer as pointers
from vireo.events.parquet import as_parquet
from vireo.homes import local
from vireo.homes.clock import MovableClock
from vireo.homes.local.delivery import Delivery
from vireo.homes.local.gateway import Gateway, serve
from vireo.homes.local.home import LocalHome
from vireo.homes.local.mapping import EventSourceMapping
from vireo.homes.local.tokens import LocalTokens
from vireo.homes.meter import LocalMeter
from vireo.identity import SCOPES
from vireo.jobs.progress import silent
from vireo.jobs.task import task
from vireo.ports import Execution, Home, Ports
from vireo.recommender import serving as serving_module
from vireo.recommender.service import Recommender
from vireo.training import generator
from vireo.training.data.collected import into_home
from vireo.training.data.dataset import Dataset
from vireo.training.steps import TRAINING

TENANT = "default"
DEFINITIONS = Path(__file__).parents[2] / "statemachines"
#: The last midnight of the generated log: 2025-01-01.
END = 1_735_689_600.0
#: When `trained` was: what happened later can be put into a copy of it.
TRAINED_AT = END - 14 * 86_400
SIZE = generator.Settings(viewers=300, videos=1_000, events=28_000, seed=5, end=END)
#: Enough to be a model; how good one gets is measured elsewhere.
QUICK: Mapping[str, Any] = {
    "requests": 200,
    "windows": [0.6, 0.8, 1.0],
    "further_epochs": 1,
    "tower": {"epochs": 3},
    "ranker": {"iterations": 30},
}
#: Gates that a quickly trained model passes.
LENIENT: Mapping[str, Any] = {
    "retrieval_recall": 0.0,
    "retrieval_ndcg": 0.0,
    "ranker_auc": 0.0,
    "ranker_ndcg": 0.0,
    "beats_popularity": False,
    "least_viewers_in_bucket": 1_000_000,
}


@dataclass
class Laptop:
    """One home in one folder, as ``make local`` composes it, with a clock that tests move."""

    folder: Path
    clock: MovableClock = field(default_factory=lambda: MovableClock(TRAINED_AT + 60))
    meter: LocalMeter = field(default_factory=LocalMeter)
    redis_url: str | None = None

    def __post_init__(self) -> None:
        self.functions: dict[str, Any] = {}
        self.home = local.home(
            self.folder,
            clock=self.clock,
            meter=self.meter,
            redis_url=self.redis_url,
            functions=self.functions,
            definitions=DEFINITIONS,
        )
        self.functions["TrainingFunction"] = task(self.home, TRAINING)
        self.tokens = LocalTokens(self.folder)

    @property
    def ports(self) -> Ports:
        return self.home.open(TENANT)

    def run(self, run_id: str, *, name: str | None = None, **document: Any) -> Execution:
        """One execution of the training state machine, from its start to its end."""
        name = name or run_id
        executions = self.ports.executions
        executions.start("training", name, {"run_id": run_id, "config": QUICK, **document})
        assert self.home.machines.wait("training", TENANT, name, 300)
        return executions.describe("training", name)

    def evaluated(self, run_id: str, *, seed: int = 2) -> dict[str, Any]:
        """The run document that ``first`` had before it was deployed, for a run of another name."""
        kept: dict[str, Any] = orjson.loads(self.ports.blobs.read("runs/first/evaluate.json"))
        return {**kept, "run_id": run_id, "seed": seed}

    def deploy(self, run_id: str, *, seed: int = 2) -> None:
        """What the state machine does once the gates have accepted, with the models of ``first``.

        A whole deployment in two seconds; another seed brings the towers up to date differently.
        """
        document = self.evaluated(run_id, seed=seed)
        assert self.step("deploy", document)["version"] == run_id

    @property
    def serves(self) -> str | None:
        """The version that the pointer names."""
        pointer = pointers.current(self.ports.records)
        return None if pointer is None else pointer.version

    def step(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        return TRAINING.perform(name, document, self.ports, silent)

    def token(
        self,
        *,
        tenant: str = TENANT,
        scopes: tuple[str, ...] = SCOPES,
        user: str | None = None,
        seconds: float = 20 * 365 * 86_400,
    ) -> str:
        """A token; as the clock stands at a past moment, it lasts for decades."""
        return self.tokens.issue(
            self.home,
            tenant=tenant,
            client=f"client-{tenant}",
            scopes=scopes,
            user=user,
            seconds=seconds,
        )


@dataclass
class Answer:
    """An HTTP answer; every body of the API is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def ids(self) -> list[str]:
        assert self.status == 200, self.body
        return [item["video_id"] for item in self.body["items"]]


@dataclass
class Client:
    """HTTP to a running server, with a token of everything unless a call brings another."""

    laptop: Laptop
    port: int
    authorization: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Answer:
        headers = {"authorization": f"Bearer {token or self.authorization}"}
        sent = None
        if body is not None:
            sent, headers["content-type"] = orjson.dumps(body), "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, sent, headers)
            got = connection.getresponse()
            return Answer(got.status, dict(got.getheaders()), orjson.loads(got.read()))
        finally:
            connection.close()

    def recommend(self, user: str, **fields: Any) -> Answer:
        return self.call("POST", "/v1/recommendations", {"user_id": user, **fields})

    def later(self, seconds: float) -> None:
        """Move the clock and let the first request after it poll, so that the next sees news.

        What a poll brings, the very request that began it may already have done without.
        """
        self.laptop.clock.advance(seconds)
        self.call("GET", "/v1/trending?limit=1")


def follow(laptop: Laptop) -> None:
    """All that is on the stream is followed and collected."""
    log, folder = laptop.home.log, laptop.folder / "stream"
    mapping = EventSourceMapping(log, folder / "tracking", follower(laptop.home))
    delivery = Delivery(
        log,
        folder / "collected",
        transform=transform,
        convert=as_parquet,
        blobs=lambda tenant: laptop.home.open(tenant).blobs,
        clock=laptop.clock,
    )
    while mapping.step() != (0, False):
        pass
    delivery.step(flush=True)


@contextlib.contextmanager
def serving(laptop: Laptop, home: Home | None = None) -> Iterator[Client]:
    """The API of a home, behind the gateway, on a free port; ``home`` if it is a wrapped one."""
    api = build(home or laptop.home)
    gateway = Gateway(
        api.resolve, laptop.tokens.verify, api.operations(), openapi=api.get_openapi_json_schema
    )
    server = serve(gateway, port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Client(laptop, port, laptop.token())
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded test machine must not look like a slow store; tests of slow stores undo it."""
    monkeypatch.setattr(serving_module, "BRIEFLY", 30.0)
    monkeypatch.setattr(serving_module, "AT_MOST", 30.0)
    monkeypatch.setattr(Recommender.__init__, "__kwdefaults__", {"viewer_seconds": 30.0})


@pytest.fixture(scope="session", autouse=True)
def witness() -> Iterator[Witness]:
    """Sees all that goes through the ports of every home, from the first training on."""
    seen, open_ = Witness(), LocalHome.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalHome, "open", lambda home, tenant: seen.watched(open_(home, tenant)))
        yield seen


@pytest.fixture(scope="session")
def generated() -> Dataset:
    """All that happens in the tests' world, up to `END`."""
    return generator.generate(SIZE)


@pytest.fixture(scope="session")
def trained(generated: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the state machine trained and deployed ``first``. Copy it, leave it.

    It knows what happened up to `TRAINED_AT`.
    """
    folder = tmp_path_factory.mktemp("trained")
    laptop = Laptop(folder)
    earlier = pc.less(generated.events.column("timestamp"), TRAINED_AT)
    into_home(replace(generated, events=generated.events.filter(earlier)), laptop.ports)
    execution = laptop.run("first", gates=dict(LENIENT))
    assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
    assert execution.output is not None
    assert execution.output["decision"] == {"deploy": True, "reasons": [], "left_out": []}
    laptop.home.close()
    return folder


Open = Callable[..., Laptop]


@pytest.fixture
def open_copy(trained: Path, tmp_path: Path) -> Iterator[Open]:
    """Opens copies of the trained home, or of another folder, for one test."""
    opened: list[Laptop] = []

    def open_(folder: Path = trained, **options: Any) -> Laptop:
        copy = tmp_path / f"home-{len(opened)}"
        shutil.copytree(folder, copy)
        opened.append(Laptop(copy, **options))
        return opened[-1]

    yield open_
    for laptop in opened:
        laptop.home.close()


@pytest.fixture
def laptop(open_copy: Open) -> Laptop:
    """A copy of the trained home."""
    return open_copy()


@pytest.fixture
def client(laptop: Laptop) -> Iterator[Client]:
    """The API of that copy."""
    with serving(laptop) as client:
        yield client
