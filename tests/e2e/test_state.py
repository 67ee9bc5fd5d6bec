"""docs/state.md, held against what the code really writes, reads and removes."""

from __future__ import annotations

import re
import shutil
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from scripts import (
    cloud,
    controls,
    experiment,
    issue_token,
    local,
    person,
    purge,
    replay,
    rollback,
    tenant,
)
from scripts.simulate import Simulation
from stacks.delivery import UNDELIVERED
from stacks.events import GIVEN_UP
from tests import pages
from tests.e2e.conftest import SIZE, Client, Laptop, follow, serving
from tests.witness import TESTS, Touch, Witness
from upkeep.app import keeper
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.training import upkeep

PAGE = pages.tables("state.md")
#: A row's tables by kind of touch, and the columns that say where it is.
PLACES = {
    "records": ("Records", ("table", "key", "sort")),
    "blobs": ("Blobs", ("name",)),
    "cache": ("Cache", ("key",)),
    "stream": ("Stream", ("key",)),
}
#: The column that says who does it.
COLUMNS = {
    ("records", "deleted"): "goes",
    **{(kind, "deleted"): "removed by" for kind in ("blobs", "cache")},
    **{(kind, "written"): "written by" for kind in PLACES},
    **{(kind, "read"): "read by" for kind in PLACES},
}
FORMS = {row["in a name"].strip("`"): row["form"].strip("`") for row in PAGE["Names"][0]}
#: What reads and removes all that a tenant has, as the page says at its beginning.
WHOLE = {"tenancy/deletion.py", "tenancy/export.py"}
#: What operators set, by kind.
SET: dict[str, dict[str, Any]] = {
    "tuning": {"explore_slots": 2},
    "campaigns": {"campaign_id": "launch", "video_ids": ["v000700"], "budget": 1000},
    "experiments": {"name": "trial", "variants": [{"name": "a"}, {"name": "b", "tuning": {}}]},
}


@dataclass(frozen=True)
class Place:
    """A row of the page."""

    kind: str
    row: pages.Row
    where: tuple[re.Pattern[str], ...]

    def has(self, touch: Touch) -> bool:
        """Whether something that was touched lies here."""
        if touch.kind != self.kind:
            return False
        if self.kind == "stream" and touch.place[1] not in self.row["what"]:
            return False
        return all(p.fullmatch(name) for p, name in zip(self.where, touch.place, strict=False))

    def __str__(self) -> str:
        return " ".join(p.pattern for p in self.where)


def place(kind: str, row: pages.Row, columns: tuple[str, ...]) -> Place:
    def pattern(cell: str) -> re.Pattern[str]:
        parts = re.split(r"(\{[^}]+\})", "".join(pages.codes(cell)))
        return re.compile("".join(FORMS[p] if p in FORMS else re.escape(p) for p in parts))

    return Place(kind, row, tuple(pattern(row[column]) for column in columns))


ROWS = [
    place(kind, row, columns)
    for kind, (heading, columns) in PLACES.items()
    for row in PAGE[heading][0]
]


@pytest.fixture(scope="module")
def touched(
    witness: Witness, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> frozenset[Touch]:
    """All touches of the training, of a life of its home, and of the tests before this one."""
    folder = tmp_path_factory.mktemp("state") / "home"
    shutil.copytree(trained, folder)
    shutil.rmtree(folder / "scratch")
    laptop = Laptop(folder)
    try:
        with serving(laptop) as client, pytest.MonkeyPatch.context() as patch:
            use(client)
            operate(client, patch)
            start_again(laptop, patch)
            tidy_up(laptop)
    finally:
        laptop.home.close()
    unknown = {entry.name for entry in folder.iterdir()} - entries()
    assert not {name for name in unknown if not name.startswith("records.db-")}
    return frozenset(witness.touches)


def entries() -> set[str]:
    return {row["entry"].strip("`") for row in PAGE["A laptop's folder"][0]}


def use(client: Client) -> None:
    """What callers do: the catalogue, profiles, recommendations, events, an erasure."""
    laptop = client.laptop
    stream = laptop.ports.stream
    file = laptop.folder.parent / "given.json"
    for kind, given in SET.items():
        file.write_bytes(orjson.dumps(given))
        controls.main([kind, "--put", str(file), "--state", str(laptop.folder)])
    video = {"title": "New", "published_at": "2024-12-18T00:00:30Z"}
    client.call("PUT", "/v1/videos/new", video)
    client.call("DELETE", "/v1/videos/new")
    client.call("PUT", "/v1/users/anna", {"age": 34})
    assert len(client.recommend("anna").ids) == 20
    stream.publish([("anna", b"no event")])
    for user, number in (("anna", 65), ("anna", 3), ("ben", 1)):
        told = [watch(client, user, number, j) for j in range(number)]
        assert client.call("POST", "/v1/events", {"events": told}).body["accepted"] == number
        follow(laptop)
    client.later(30)
    assert client.call("GET", "/v1/users/anna").body["watched"] == 68
    assert client.call("GET", "/v1/users/anna/export").body["rows"] == 3
    for user in ("anna", "u00299"):
        assert client.call("DELETE", f"/v1/users/{user}").body["deleted"]


def watch(client: Client, user: str, of: int, number: int) -> dict[str, Any]:
    return {
        "event_id": f"e-{user}-{of}-{number}",
        "user_id": user,
        "video_id": f"v{of:03d}{number:03d}",
        "type": "watch",
        "timestamp": client.laptop.clock.now() - 100 + number,
    }


def operate(client: Client, patch: pytest.MonkeyPatch) -> None:
    """What operators and jobs do: tokens, dead letters, reports, deployments, purges."""
    laptop, state = client.laptop, ["--state", str(client.laptop.folder)]

    @contextmanager
    def deployed(environment: str) -> Iterator[LocalHome]:
        yield laptop.home

    patch.setattr(cloud, "deployed", deployed)
    patch.setattr(cloud, "outputs", lambda environment, part: {"ClientId": "machine"})
    patch.setattr("sys.argv", ["issue_token", *state])
    for _ in range(2):  # the second time, a client is there
        cloud.client("dev")
        issue_token.main()
    letter = [("carl", b"no event")]
    laptop.ports.stream.publish(letter)
    follow(laptop)
    replay.main([*state, "--again"])
    follow(laptop)
    replay.main([*state, "--drop"])
    experiment.main(["trial", *state])
    controls.main(["experiments", "--remove", "trial", *state])
    laptop.deploy("second")
    client.later(30)
    shutil.rmtree(laptop.folder / "scratch/default/bundles/first")
    rollback.main(state)
    laptop.step("preprocess", {"run_id": "third"})
    purge.main(state)
    person.main(["ben", "--into", str(laptop.folder.parent / "ben"), *state])
    laptop.step("notify", {"run_id": "third", "failure": {"Error": "made up"}})
    controls.main(["tuning", "--remove", *state])
    controls.main(["campaigns", "--remove", "launch", *state])
    simulation = Simulation(laptop.home, laptop.clock, SIZE, bias=0.6)
    simulation._split("day-1")
    simulation._split("day-2")
    assert simulation.rivalry("first")


def start_again(laptop: Laptop, patch: pytest.MonkeyPatch) -> None:
    """What ``make local`` does beside serving, where all that takes long is done already."""

    class Server:
        started, should_exit = False, True

        def run(self) -> None:
            """Nobody asks it anything."""

    def told(*_: object) -> None:
        """Progress."""

    options = Namespace(state=laptop.folder, size="small", seed=5, settings=None, port=0, log=False)
    progress: Any = told
    elsewhere = laptop.home.open("elsewhere")
    patch.setattr(local, "SIZES", {"small": (30, 60, 600, {})})
    local._seed(elsewhere, options, progress)
    local._document(elsewhere, options)
    first = {"run_id": "first", "tenant": "default", "trigger": "manual"}
    laptop.ports.blobs.write(local.BEGUN, orjson.dumps(first))
    execution = local._train(laptop.home, laptop.ports, options, laptop.functions, progress)
    local._tell(execution, laptop.ports, laptop.folder)
    refused = execution.output or {}
    refused = {**refused, "decision": {"deploy": False, "reasons": []}}
    local._tell(type(execution)("first", "SUCCEEDED", refused), laptop.ports, laptop.folder)
    patch.setattr(local, "serve", lambda gateway, port: Server())
    local._serve(laptop.home, options, *local._parts(laptop.home, laptop.folder))


def tidy_up(laptop: Laptop) -> None:
    """What goes by the clock, when all is old that does not serve: one file of every kind."""
    kinds = ("evaluate.json", "failure.json", "prepared/x", "retrieval/x", "ranker/x", "report/x")
    for name in (
        *(f"runs/old/{kind}" for kind in kinds),
        *(f"bundles/old/{kind}" for kind in ("manifest.json", "popular.npy", "index.faiss")),
        "bundles/old/report.html",
    ):
        laptop.ports.blobs.write(name, b"1")
    for task in ("ages", "tidy"):
        keeper(laptop.home)({"task": task, "tenant": "default"}, None)
    later = replace(laptop.ports, clock=MovableClock(time.time() + 400 * 86_400))
    upkeep.tidy(later, upkeep.Kept(runs=0, bundles=0))
    state = ["--state", str(laptop.folder)]
    tenant.main(["create", "elsewhere", *state])
    tenant.main(["export", "elsewhere", "--into", str(laptop.folder.parent / "elsewhere"), *state])
    tenant.main(["delete", "elsewhere", "--yes", "elsewhere", "--at-once", *state])


def by_operator(row: pages.Row, touch: Touch) -> bool:
    """Whether a test stands for people: what it does itself says nothing of the code."""
    return touch.by == TESTS and "operators" in row[COLUMNS[touch.kind, touch.how]]


def test_everything_is_where_the_page_says(touched: frozenset[Touch]) -> None:
    wrong = []
    for touch in touched:
        found = [one for one in ROWS if one.has(touch)]
        if touch.by == TESTS and not any(by_operator(one.row, touch) for one in found):
            continue
        if len(found) != 1:
            wrong.append(f"{touch} is in rows {[str(one) for one in found]}")
            continue
        if touch.by in WHOLE and not found[0].row["what"].startswith("of `_system`"):
            continue
        cell = found[0].row[COLUMNS[touch.kind, touch.how]]
        if touch.by != TESTS and touch.by not in pages.modules(cell):
            wrong.append(f"{found[0]}: {touch.how} by {touch.by}, says {cell!r}")
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_everything_on_the_page_is_so(touched: frozenset[Touch]) -> None:
    missing = []
    for one in ROWS:
        here = [touch for touch in touched if one.has(touch)]
        for (kind, how), column in COLUMNS.items():
            # A stream is read by what follows it, not through the port.
            if kind == one.kind and column in one.row and (kind, how) != ("stream", "read"):
                done = {touch.by for touch in here if touch.how == how}
                named = pages.modules(one.row[column])
                missing += [f"{one}: {how} by {by}" for by in named - done]
        if not any(t.how == "written" and (t.by != TESTS or by_operator(one.row, t)) for t in here):
            missing.append(f"{one}: written by nobody")
    assert not missing, "\n".join(missing)


def test_records_go_when_the_page_says(touched: frozenset[Touch]) -> None:
    for one in ROWS:
        if one.kind == "records":
            said = re.match(r"(\d+) days", one.row["goes"])
            for touch in touched:
                if one.has(touch) and touch.how == "written" and touch.by != TESTS:
                    assert (said is None) == (touch.days is None), touch
                    if said is not None and touch.days is not None:
                        assert int(said[1]) <= touch.days <= int(said[1]) + 0.25, touch


def test_arrays_of_a_bundle_are_those_that_the_page_names(touched: frozenset[Touch]) -> None:
    names = {touch.place[0].removeprefix("bundles/first/") for touch in touched}
    arrays = {n.removesuffix(".npy") for n in names if n.endswith(".npy") and "bundles/" not in n}
    rows = pages.tables("architecture.md")["One bundle"][0]
    told = [
        re.compile(re.escape(code).replace(r"\*", ".*"))
        for row in rows
        for code in pages.codes(row["array"])
    ]
    assert arrays
    assert not {a for a in arrays if not any(t.fullmatch(a) for t in told)}
    # Only with a setting that is off.
    assert [t.pattern for t in told if not any(t.fullmatch(a) for a in arrays)] == [
        "tower/users/.*"
    ]


def test_what_only_aws_writes_is_where_the_stacks_say() -> None:
    named = [row["in the bucket"].strip("`") for row in PAGE["Blobs"][1]]
    assert named == [f"{GIVEN_UP}/", f"{UNDELIVERED}/"]
