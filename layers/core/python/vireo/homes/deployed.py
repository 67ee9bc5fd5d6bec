"""The home of a deployed environment, opened from a laptop through the outputs of its stacks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import ClientError

from vireo.homes.aws import AwsHome
from vireo.homes.meter import LocalMeter
from vireo.ports import Missing, Ports, Table
from vireo.settings import Settings

#: Time limits in seconds, longer than a function's because a laptop is farther away.
_PATIENCE: dict[str, Any] = {"record_seconds": 10.0, "blob_seconds": 60.0, "connect_seconds": 5.0}


def outputs(environment: str, part: str) -> dict[str, str]:
    """The outputs of a stack, e.g. ``part="data"``. Raises `Missing` if it does not exist."""
    client: Any = boto3.client("cloudformation")
    name = f"vireo-{environment}-{part}"
    try:
        (stack,) = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        raise Missing(f"stack {name} cannot be read: {error}") from error
    return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}


@contextmanager
def deployed(environment: str, machine: str | None = None) -> Iterator[AwsHome]:
    """The home of an environment, with the current AWS credentials.

    It has no cache, which commands do not need. ``machine`` is the ARN of the training state
    machine, for commands that start it. Raises `Missing` if the environment is not deployed.
    """
    data, serving = outputs(environment, "data"), outputs(environment, "recommender")
    names = {table: table.value.title().replace("_", "") for table in Table}
    tables: dict[str, Any] = {f"{t}_table": data[f"{names[t]}TableName"] for t in Table}
    with tempfile.TemporaryDirectory(prefix="vireo-") as scratch:
        settings = Settings(
            environment=environment,
            bucket=data["BucketName"],
            stream=data["StreamName"],
            training_machine=machine,
            serving_function=serving.get("ServingFunction"),
            serving_group=serving.get("ServingGroup"),
            scratch=scratch,
            attempts=5,
            **_PATIENCE,
            **tables,
        )
        yield AwsHome(settings, meter=LocalMeter())


def finish(ports: Ports, version: str, every: float = 10.0) -> None:
    """Release a bundle and wait until it serves every request. Raises `Withdrawn`."""
    begun = ports.releases.begin(version)
    while begun is not None and not ports.releases.finished(begun):
        time.sleep(every)
