"""The AWS home when AWS is slow, away, or refuses a part."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from vireo.homes.aws import AwsHome
from vireo.homes.meter import LocalMeter
from vireo.ports import Conflict, Ports, Put, Refused, Table, Unavailable
from vireo.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsHome]:
    """A home whose every service takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        settings = Settings(
            bucket="vireo",
            stream="events",
            training_machine="arn:aws:states:eu-west-1:000000000000:stateMachine:training",
            record_seconds=0.1,
            blob_seconds=0.1,
            stream_seconds=0.1,
            attempts=1,
            scratch=str(tmp_path),
            **{f"{table}_table": f"vireo-{table}" for table in Table},
        )
        yield AwsHome(settings, meter=LocalMeter())


@pytest.fixture
def ports(home: AwsHome) -> Ports:
    return home.open("acme")


def test_a_silent_service_is_unavailable_in_time(ports: Ports, home: AwsHome) -> None:
    for service in ("dynamodb", "s3", "kinesis", "stepfunctions"):
        home.clients(service)  # making a client takes longer than its time limit
    calls: list[Any] = [
        lambda: ports.records.get(Table.VIDEOS, "k"),
        lambda: ports.records.query(Table.VIDEOS, "k"),
        lambda: ports.records.put(Table.VIDEOS, "k", "", {}),
        lambda: ports.records.add(Table.VIDEOS, "k", "", {"n": 1}),
        lambda: ports.records.write([Put(Table.VIDEOS, "k", "", {})]),
        lambda: ports.blobs.read("a"),
        lambda: list(ports.blobs.names()),
        lambda: ports.executions.describe("training", "run"),
    ]
    started = time.monotonic()
    for call in calls:
        with pytest.raises(Unavailable):
            call()
    reasons = ports.stream.publish([("k", b"1"), ("", b"1")])
    assert time.monotonic() - started < 5
    assert reasons[0] is not None
    assert "timeout" in reasons[0].lower()
    assert reasons[1] == "a stream's key has 1 to 200 characters"


def test_a_home_without_redis_has_no_cache(ports: Ports) -> None:
    ports.cache.put("k", b"1", seconds=60)
    assert ports.cache.get("k") is None
    assert ports.cache.add("n", seconds=60) is None
    ports.cache.delete("k")


def test_records_that_kinesis_did_not_take_are_told_apart(ports: Ports, home: AwsHome) -> None:
    with Stubber(home.clients("kinesis")) as kinesis:
        kinesis.add_response(
            "put_records",
            {
                "FailedRecordCount": 1,
                "Records": [
                    {"SequenceNumber": "1", "ShardId": "s"},
                    {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow"},
                ],
            },
            {"StreamName": "events", "Records": ANY},
        )
        reasons = ports.stream.publish([("a", b"1"), ("", b"x"), ("b", b"2")])
    assert reasons[0] is None
    assert reasons[1] is not None
    assert reasons[2] == "ProvisionedThroughputExceededException: slow"


def cancelled(*codes: str) -> dict[str, Any]:
    return {
        "service_error_code": "TransactionCanceledException",
        "modeled_fields": {"CancellationReasons": [{"Code": code} for code in codes]},
    }


def test_a_write_beside_another_is_tried_again(ports: Ports, home: AwsHome) -> None:
    with Stubber(home.clients("dynamodb")) as dynamodb:
        dynamodb.add_client_error("transact_write_items", **cancelled("TransactionConflict"))
        dynamodb.add_response("transact_write_items", {})
        ports.records.write([Put(Table.VIDEOS, "k", "", {})])
        dynamodb.assert_no_pending_responses()
        for _ in range(5):
            dynamodb.add_client_error("update_item", "TransactionConflictException")
        with pytest.raises(Unavailable):
            ports.records.put(Table.VIDEOS, "k", "", {})


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        ({"service_error_code": "ProvisionedThroughputExceededException"}, Unavailable),
        ({"service_error_code": "AccessDeniedException"}, Unavailable),
        ({"service_error_code": "ResourceNotFoundException"}, Unavailable),
        ({"service_error_code": "ValidationException"}, Refused),
        (cancelled("None", "ConditionalCheckFailed"), Conflict),
        (cancelled("ThrottlingError"), Unavailable),
        (cancelled("ValidationError"), Refused),
    ],
)
def test_what_errors_mean(
    ports: Ports, home: AwsHome, error: dict[str, Any], meaning: type[Exception]
) -> None:
    with Stubber(home.clients("dynamodb")) as dynamodb:
        dynamodb.add_client_error("transact_write_items", **error)
        with pytest.raises(meaning):
            ports.records.write([Put(Table.VIDEOS, "k", "", {})])
