"""Both homes, each empty for every test: what one does, the other must do.

The home in AWS is on moto; its records are on dynalite, too.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.contract import second_dynamodb
from vireo.homes.aws import AwsHome
from vireo.homes.aws.clients import Clients
from vireo.homes.clock import MovableClock
from vireo.homes.local import home as local_home
from vireo.homes.meter import LocalMeter
from vireo.ports import Home, Ports, Table
from vireo.settings import Settings

#: Ends at once, or fails, or waits: what its document says.
MACHINE: dict[str, Any] = {
    "StartAt": "How",
    "States": {
        "How": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.how", "StringEquals": "fail", "Next": "Failed"},
                {"Variable": "$.how", "StringEquals": "wait", "Next": "Waited"},
            ],
            "Default": "Done",
        },
        "Waited": {"Type": "Wait", "Seconds": 2, "Next": "Done"},
        "Failed": {"Type": "Fail", "Error": "TooBad", "Cause": "as asked"},
        "Done": {"Type": "Pass", "End": True},
    },
}
_names = itertools.count()


class OneAtATime(Clients):
    """moto, unlike AWS, loses updates when threads call it at once: here each call is atomic."""

    _calling = Lock()

    def _make(self, service: str) -> Any:
        client = super()._make(service)
        call = client._make_api_call

        def alone(*args: Any, **kwargs: Any) -> Any:
            with self._calling:
                return call(*args, **kwargs)

        client._make_api_call = alone
        return client


class OnDynalite(OneAtATime):
    """Records are in dynalite, which takes calls at once; all else is on moto."""

    def __init__(self, settings: Settings, endpoint: str) -> None:
        super().__init__(settings)
        self._endpoint = endpoint

    def _make(self, service: str) -> Any:
        if service != "dynamodb":
            return super()._make(service)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", self._endpoint)
            return Clients._make(self, service)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every suite runs in both homes; what records do, with a second DynamoDB, too."""
    if "home" not in metafunc.fixturenames:
        return
    homes: list[Any] = ["local", "aws"]
    if metafunc.definition.get_closest_marker("second_dynamodb"):
        lacks = [m.args[0] for m in metafunc.definition.iter_markers("dynalite_lacks")]
        # Strict: when it learns, we want to know.
        marks = [pytest.mark.xfail(reason=f"dynalite lacks {lack}", strict=True) for lack in lacks]
        homes.append(pytest.param("dynalite", marks=marks))
    metafunc.parametrize("home", homes, indirect=True)


def make_tables(client: Any, settings: Settings) -> None:
    for table in Table:
        client.create_table(
            TableName=settings.table(table),
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )


@pytest.fixture(scope="module")
def account() -> Iterator[tuple[Settings, Clients]]:
    """An AWS account on moto, with what a deployment makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
            machine = boto3.client("stepfunctions").create_state_machine(
                name="training",
                definition=json.dumps(MACHINE),
                roleArn="arn:aws:iam::123456789012:role/machine",
            )
            settings = Settings(
                bucket="vireo",
                stream="events",
                training_machine=machine["stateMachineArn"],
                record_seconds=5,
                **{f"{table}_table": f"vireo-{table}" for table in Table},
            )
            make_tables(boto3.client("dynamodb"), settings)
            boto3.client("s3").create_bucket(
                Bucket="vireo", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
            )
            boto3.client("kinesis").create_stream(StreamName="events", ShardCount=2)
            yield settings, OneAtATime(settings)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def meter() -> LocalMeter:
    return LocalMeter()


@pytest.fixture(scope="session")
def dynalite() -> Iterator[str]:
    with second_dynamodb.running() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def other_account(
    account: tuple[Settings, Clients], dynalite: str
) -> Iterator[tuple[Settings, Clients]]:
    """The same account, with its records in dynalite."""
    settings, _ = account
    clients = OnDynalite(settings, dynalite)
    make_tables(clients("dynamodb"), settings)
    yield settings, clients
    for table in Table:
        clients("dynamodb").delete_table(TableName=settings.table(table))


@pytest.fixture
def home(
    request: pytest.FixtureRequest, tmp_path: Path, clock: MovableClock, meter: LocalMeter
) -> Iterator[Home]:
    if request.param == "local":
        (tmp_path / "training.asl.json").write_text(json.dumps(MACHINE))
        local = local_home(tmp_path / "state", clock=clock, meter=meter, definitions=tmp_path)
        yield local
        local.close()
    else:
        name = "account" if request.param == "aws" else "other_account"
        settings, clients = request.getfixturevalue(name)
        settings = settings.model_copy(update={"scratch": str(tmp_path)})
        aws = AwsHome(settings, clock=clock, meter=meter)
        aws.clients = clients
        yield aws


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has written to."""
    return f"tenant-{next(_names)}"


@pytest.fixture
def ports(home: Home, tenant: str) -> Ports:
    return home.open(tenant)
