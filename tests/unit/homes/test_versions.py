"""Published versions of functions that nobody needs are deleted, on moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests import serving_function
from vireo.homes.aws import versions
from vireo.homes.aws.versions import FunctionVersions
from vireo.ports import Unavailable


@pytest.fixture
def lambda_(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function with versions 1 to 6, of which the alias names the first."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws(config=serving_function.CONFIG):
        client = serving_function.make("serving", {}, None, monkeypatch)
        for number in range(5):
            variables = {"Variables": {"N": str(number)}}
            client.update_function_configuration(FunctionName="serving", Environment=variables)
            client.publish_version(FunctionName="serving")
        yield client


def left(client: Any, function: str = "serving") -> list[str]:
    found = client.list_versions_by_function(FunctionName=function)["Versions"]
    return [v["Version"] for v in found if v["Version"] != "$LATEST"]


def forget(keep: int) -> int:
    clients: Any = boto3.client
    return FunctionVersions(clients, ["serving"]).forget(keep)


def test_those_of_aliases_and_the_latest_stay(lambda_: Any) -> None:
    assert left(lambda_) == ["1", "2", "3", "4", "5", "6"]
    assert forget(2) == 3
    assert left(lambda_) == ["1", "5", "6"]
    assert forget(2) == 0
    assert lambda_.get_function(FunctionName="serving")["Configuration"], "the function itself"


def test_while_requests_are_shifted_both_versions_stay(lambda_: Any) -> None:
    weights = {"AdditionalVersionWeights": {"3": 0.1}}
    lambda_.update_alias(
        FunctionName="serving", Name="live", FunctionVersion="2", RoutingConfig=weights
    )
    assert forget(0) == 4
    assert left(lambda_) == ["2", "3"]


def test_a_day_deletes_so_many(lambda_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "MOST", 2)
    assert [forget(1), forget(1), forget(1)] == [2, 2, 0]
    assert left(lambda_) == ["1", "6"]


def test_a_function_that_is_not_there_is_told(lambda_: Any) -> None:
    lambda_.delete_function(FunctionName="serving")
    with pytest.raises(Unavailable, match="versions of serving"):
        forget(1)
