"""What version 0.1.0 left in a folder, and in DynamoDB, is read and gone on with by this one."""

from __future__ import annotations

import base64
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
from moto import mock_aws

from tests.contract.conftest import make_tables
from tests.e2e.conftest import LENIENT, QUICK, Client, Laptop, follow, serving
from tests.oracles_events import distinct, stored_viewers, told, viewers
from tests.witness import Witness
from vireo.catalogue.store import Catalogue, UnknownVideo
from vireo.homes.aws import AwsHome
from vireo.homes.clock import MovableClock
from vireo.ports import Arrival, Ports, Table
from vireo.recommender.steering import controls
from vireo.recommender.users import Viewers
from vireo.settings import Settings

#: Made by the script in README.md beside it.
KEPT = Path(__file__).parents[1] / "earlier" / "0.1.0.tar.xz"
#: So many of the events in `told.json` had the consumer followed.
FOLLOWED = 301


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(KEPT) as kept:
        kept.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def left(folder: Path) -> dict[str, Any]:
    """What is there: ids of the catalogue, events on the stream, the moment."""
    found: dict[str, Any] = orjson.loads((folder / "told.json").read_bytes())
    return found


@pytest.fixture(scope="module")
def client(folder: Path, left: dict[str, Any], witness: Witness) -> Iterator[Client]:
    """The API of that folder; the page of today's state says nothing of what lies there."""
    witness.looks = False
    laptop = Laptop(folder, MovableClock(left["now"] + 60))
    with serving(laptop) as client:
        yield client
    laptop.home.close()
    witness.looks = True


def test_its_bundle_serves_without_what_was_removed(client: Client, left: dict[str, Any]) -> None:
    answer = client.recommend("u00001", limit=50, context={"country": "DE"})
    assert answer.status == 200, answer.body
    assert answer.body["degraded"] == []
    assert answer.body["model_version"] == "first"
    assert len(answer.ids) == 50
    assert not {left["ids"][5], left["ids"][6]} & set(answer.ids)
    catalogue = client.call("GET", f"/v1/videos/{left['ids'][6]}").body
    assert (catalogue["title"], catalogue["countries_blocked"]) == ("Restricted", ["DE"])
    assert client.call("GET", f"/v1/videos/{left['ids'][5]}").status == 404


def test_its_catalogue_can_be_changed(client: Client, left: dict[str, Any]) -> None:
    for video_id in (left["ids"][7], "new"):
        assert client.call("DELETE", f"/v1/videos/{video_id}").status == 200
    client.later(30)
    assert not {left["ids"][7], "new"} & set(client.recommend("u00001", limit=50).ids)


def test_its_settings_are_valid(client: Client) -> None:
    read = controls.read(client.laptop.ports.records)
    assert not read.problems
    assert (len(read.campaigns), len(read.experiments), read.tuning.explore_slots) == (1, 1, 2)


def test_its_log_is_gone_on_with(client: Client, left: dict[str, Any]) -> None:
    ports = client.laptop.ports
    arrivals = [
        Arrival(key, payload.encode(), "0", j, left["now"])
        for j, (key, payload) in enumerate(left["events"])
    ]
    assert_viewers(ports, arrivals[:FOLLOWED])
    follow(client.laptop)
    assert_viewers(ports, arrivals)


def assert_viewers(ports: Ports, arrivals: list[Arrival]) -> None:
    """Each is as the distinct events say, but for u3, who was erased after they happened."""
    expected = viewers(distinct(arrivals))
    got = stored_viewers(ports.records, expected)
    erased = got.pop("u3", None)
    assert erased is None or not len(erased.keys)
    del expected["u3"]
    assert {n: told(v) for n, v in got.items()} == {n: told(v) for n, v in expected.items()}


def test_its_people_can_be_erased(client: Client) -> None:
    assert client.call("GET", "/v1/users/u0").body["watched"]
    erased = client.call("DELETE", "/v1/users/u0").body
    assert erased["deleted"]
    assert client.call("GET", "/v1/users/u0").status == 404


def test_its_collected_events_train_a_bundle(client: Client) -> None:
    laptop = client.laptop
    tower = {"epochs": 1, "dimension": 16, "hidden": 32, "content_hidden": 16}
    small = {**QUICK, "requests": 60, "tower": tower, "ranker": {"iterations": 3}}
    execution = laptop.run("second", config=small, gates=dict(LENIENT))
    assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
    evaluated = orjson.loads(laptop.ports.blobs.read("runs/second/evaluate.json"))
    # So few viewers prove nothing to the gates.
    assert laptop.step("deploy", {**evaluated, "seed": 1})["version"] == "second"
    client.later(30)
    client.later(30)
    assert client.recommend("u00001").body["model_version"] == "second"


def test_its_items_of_dynamodb_are_read(folder: Path, left: dict[str, Any]) -> None:
    items = orjson.loads((folder / "dynamodb.json").read_bytes())
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        tables = {f"{table}_table": f"vireo-{table}" for table in Table}
        settings = Settings(bucket="vireo", stream="events", **tables)
        client = boto3.client("dynamodb")
        make_tables(client, settings)
        for table, rows in items.items():
            for row in rows:
                row["item"]["B"] = base64.b64decode(row["item"]["B"])
                client.put_item(TableName=f"vireo-{table}", Item=row)
        ports = AwsHome(settings, clock=MovableClock(left["now"])).open("default")
        store = Catalogue(ports)
        videos = list(store.all())
        assert len(videos) == 4
        assert Viewers(ports).get("anna").profile.age == 34
        assert controls.read(ports.records).tuning.explore_slots == 2
        assert ports.records.add(Table.SETTINGS, "spent", "launch", {"impressions": 1}) == {
            "impressions": 8
        }
        store.delete(videos[0].video_id)
        with pytest.raises(UnknownVideo):
            store.get(videos[0].video_id)
