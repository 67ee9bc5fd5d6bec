"""Faults in the real code, and the metrics that it writes then.

The functions' own handlers run with the environment of prod's templates, on moto; what is broken
is what they stand on. What comes back are the lines of the log, as Lambda would find them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.infra.account import Account
from tests.infra.running import Handler, deployed, handler, request
from tests.worlds import bundle, catalogue
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.homes import aws
from vireo.homes.clock import MovableClock
from vireo.homes.local.mapping import kinesis_record
from vireo.homes.local.stream import StreamRecord
from vireo.identity import register_client
from vireo.ports import Ports, Table
from vireo.recommender.contents import ModelBundle
from vireo.recommender.service import Recommender

DAY = 86_400.0
ASKED = ("POST", "/v1/recommendations", {"user_id": "anna"})
#: Nothing of moto is as fast as the limits of production want.
PATIENT = {"VIREO_RECORD_SECONDS": "30", "VIREO_STREAM_SECONDS": "30"}
NO_CACHE = {"VIREO_REDIS_URL": "redis://127.0.0.1:1"}


@dataclass(frozen=True)
class Context:
    """What Lambda hands a function beside the event, as far as ours look at it."""

    function_version: str


class Running:
    """A function that runs, and the lines that it has written."""

    def __init__(
        self, answer: Handler, lines: list[str], clock: MovableClock, version: str
    ) -> None:
        self._answer = answer
        self.version = version
        self.lines = lines
        #: Of the function: it stands still unless it is moved, so that no machine is too slow.
        self.clock = clock

    @property
    def ports(self) -> Ports:
        """What the default tenant has."""
        return aws.home().open("default")

    def call(self, event: Any) -> Any:
        """What Lambda does. Afterwards `lines` are those of this call."""
        self.lines.clear()
        return self._answer(event, Context(self.version))

    def ask(self, *what: Any, status: int = 200) -> Any:
        """A request of an API's client, and its answer's body."""
        answer = self.call(request(*(what or ASKED)))
        assert answer["statusCode"] == status, answer
        return json.loads(answer["body"])

    def wait_for(self, metric: str) -> None:
        """Until a metric is written: some are, beside the request, by another thread."""
        began = time.monotonic()
        while not any(f'"{metric}"' in line for line in self.lines):
            assert time.monotonic() - began < 20, f"no {metric} in {self.lines}"
            time.sleep(0.01)
            meter: Any = aws.home().meter
            meter.flush()


@contextmanager
def running(account: Account, package: str, scratch: Path, version: str = "7") -> Iterator[Running]:
    """A version of a function of prod, with a registered client."""
    function = f"{package.title()}Function"
    changes = PATIENT | (NO_CACHE if package in {"recommend", "events"} else {})
    with deployed(account, function, scratch, **changes), pytest.MonkeyPatch.context() as patch:
        patch.setattr("vireo.recommender.serving.EVERY", 0.0)
        patch.setattr("vireo.recommender.serving.BRIEFLY", 30.0)
        # The first look at a viewer makes clients, which takes longer than a request waits.
        patch.setattr(Recommender.__init__, "__kwdefaults__", {"viewer_seconds": 30.0})
        lines: list[str] = []
        clock = MovableClock(time.time())
        patch.setattr(aws.home(), "clock", clock)
        patch.setattr(aws.home().meter, "_write", lines.append)
        answer = handler(package)
        register_client(aws.home(), "machine", "default")
        yield Running(answer, lines, clock, version)


def fresh(version: str = "b1", age: float = DAY) -> ModelBundle:
    """A bundle that knows the catalogue as it was some seconds ago."""
    made, now = bundle(catalogue(60), version=version), datetime.now(UTC).timestamp()
    changes = {"watermark": now - age, "created_at": now - age + 60}
    return replace(made, manifest=made.manifest.model_copy(update=changes))


def serve(ports: Ports, version: str = "b1", age: float = DAY) -> None:
    """Publish a bundle, and let the pointer name it."""
    bundles.publish(fresh(version, age), ports.blobs)
    pointer.switch(ports.records, version, expect=pointer.current(ports.records))


def lose(table: Table) -> None:
    """A table that does not answer."""
    boto3.client("dynamodb").delete_table(TableName=aws.home().settings.table(table))


def lose_the_stream() -> None:
    """A stream that takes nothing."""
    boto3.client("kinesis").delete_stream(
        StreamName=aws.home().settings.stream, EnforceConsumerDeletion=True
    )


def event(n: int, **more: Any) -> dict[str, Any]:
    """What a viewer did just now."""
    now = datetime.now(UTC).timestamp()
    ids = {"event_id": f"e{n}", "user_id": "anna", "video_id": f"v{n}"}
    return {**ids, "type": "like", "timestamp": now} | more


def batch(*payloads: bytes) -> dict[str, Any]:
    """Records of the stream as Lambda hands them over."""
    now = datetime.now(UTC).timestamp()
    return {
        "Records": [
            kinesis_record(0, StreamRecord("default", "anna", payload, now, n))
            for n, payload in enumerate(payloads)
        ]
    }


@contextmanager
def broken(stage: str, how: Callable[[], object]) -> Iterator[None]:
    """Let something happen in a stage of the recommender, whenever it begins."""
    module = __import__(f"vireo.recommender.{stage}", fromlist=["x"])
    kind = getattr(module, stage.title())
    plain = kind.__call__

    def changed(self: Any, asked: Any, slate: Any) -> Any:
        how()
        return plain(self, asked, slate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "__call__", changed)
        yield


def fails() -> None:
    """A fault of ours."""
    raise ArithmeticError("broken for a test")
