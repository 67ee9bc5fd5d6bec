"""The home in AWS: DynamoDB, S3, ElastiCache, Kinesis and Step Functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import boto3
import orjson
from botocore.config import Config

from vireo.homes.aws_errors import translated
from vireo.homes.aws_meter import EmfMeter
from vireo.homes.aws_records import AwsRecords
from vireo.homes.aws_releases import LambdaReleases
from vireo.homes.clock import SystemClock
from vireo.homes.limits import owned, refusals
from vireo.homes.names import checked_blob, checked_prefix, checked_tenant, execution_name
from vireo.ports import AtOnce, Cache, Clock, Execution, Meter, Missing, Ports, Refused, Unavailable
from vireo.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_stepfunctions import SFNClient

#: Kinesis takes this many bytes in one call.
_CALL_BYTES = 5 * 1024 * 1024


class Clients:
    """boto3's clients, each made when first used (making one costs 40–180 ms) and then kept."""

    def __init__(self, settings: Settings) -> None:
        self._lock = Lock()
        self._made: dict[str, Any] = {}
        self._settings = settings
        self._limits = {
            "dynamodb": settings.record_seconds,
            "s3": settings.blob_seconds,
            "kinesis": settings.stream_seconds,
            "stepfunctions": settings.stream_seconds,
            "lambda": settings.blob_seconds,
            "codedeploy": settings.blob_seconds,
        }

    def __call__(self, service: str) -> Any:
        """The client of a service."""
        client = self._made.get(service)
        if client is None:
            with self._lock:  # boto3 makes clients from a session that threads must not share
                client = self._made.get(service) or self._make(service)
                self._made[service] = client
        return client

    def _make(self, service: str) -> Any:
        config = Config(
            connect_timeout=self._settings.connect_seconds,
            read_timeout=self._limits[service],
            retries={"mode": "standard", "total_max_attempts": self._settings.attempts},
        )
        # The stubs have an overload for every service by name, none for a name in a variable.
        return boto3.client(service, config=config)  # type: ignore[call-overload]


class S3Blobs:
    """`vireo.ports.Blobs` of one tenant: objects under ``<tenant>/``."""

    def __init__(self, client: Callable[[], S3Client], tenant: str, bucket: str) -> None:
        self._client = client
        self._tenant = tenant
        self._bucket = bucket

    def read(self, name: str) -> bytes:
        """See the port."""
        key = self._key(name)
        with translated(f"blob {name}"):
            return self._client().get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def write(self, name: str, data: bytes) -> None:
        """See the port."""
        key = self._key(name)
        with translated(f"blob {name}"):
            self._client().put_object(Bucket=self._bucket, Key=key, Body=data)

    def delete(self, name: str) -> None:
        """See the port."""
        key = self._key(name)
        with translated(f"blob {name}"):
            self._client().delete_object(Bucket=self._bucket, Key=key)

    def names(self, prefix: str = "") -> Iterator[str]:
        """See the port."""
        start = f"{self._tenant}/{checked_prefix(prefix)}"
        with translated(f"blobs {prefix}"):
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=start):
                for found in page.get("Contents", []):
                    yield found["Key"].removeprefix(f"{self._tenant}/")

    def download(self, name: str, path: str) -> None:
        """See the port."""
        key = self._key(name)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with translated(f"blob {name}"):  # boto3 writes beside it and renames
            self._client().download_file(Bucket=self._bucket, Key=key, Filename=str(target))

    def upload(self, path: str, name: str) -> None:
        """See the port. Raises FileNotFoundError when there is no such local file."""
        key = self._key(name)
        with translated(f"blob {name}"), Path(path).open("rb") as file:
            self._client().upload_fileobj(file, Bucket=self._bucket, Key=key)

    def _key(self, name: str) -> str:
        return f"{self._tenant}/{checked_blob(name)}"


class NoCache:
    """`vireo.ports.Cache` of a deployment without one: every look-up is a miss."""

    def get(self, key: str) -> bytes | None:
        """None."""

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Forget at once."""

    def delete(self, key: str) -> None:
        """Nothing to forget."""

    def add(self, key: str, amount: int = 1, *, seconds: float) -> int | None:
        """None."""


class KinesisStream:
    """`vireo.ports.Stream` of one tenant; the partition key is ``tenant#key``."""

    def __init__(self, client: Callable[[], KinesisClient], tenant: str, stream: str) -> None:
        self._client = client
        self._tenant = tenant
        self._stream = stream

    def publish(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """See the port."""
        reasons = refusals(records)
        for places in _calls(records, [j for j, r in enumerate(reasons) if r is None]):
            answers = self._put([records[j] for j in places])
            for j, answer in zip(places, answers, strict=True):
                reasons[j] = answer
        return reasons

    def _put(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        entries: list[Any] = [
            {"Data": payload, "PartitionKey": f"{self._tenant}#{key}"} for key, payload in records
        ]
        try:
            with translated("stream"):
                answer = self._client().put_records(StreamName=self._stream, Records=entries)
        except (Unavailable, Refused) as error:
            return [str(error)] * len(records)
        return [
            f"{a['ErrorCode']}: {a.get('ErrorMessage', '')}" if a.get("ErrorCode") else None
            for a in answer["Records"]
        ]


def _calls(records: Sequence[tuple[str, bytes]], places: Sequence[int]) -> Iterator[list[int]]:
    """Places of records, as many to a call as Kinesis takes."""
    call: list[int] = []
    total = 0
    for j in places:
        size = len(records[j][1]) + 4 * 256  # a partition key has at most 256 characters
        if call and total + size > _CALL_BYTES:
            yield call
            call, total = [], 0
        call.append(j)
        total += size
    if call:
        yield call


class StepFunctions:
    """`vireo.ports.Executions` of one tenant; an execution's name starts with its tenant."""

    def __init__(self, client: Callable[[], SFNClient], tenant: str, settings: Settings) -> None:
        self._client = client
        self._tenant = tenant
        self._settings = settings

    def start(self, machine: str, name: str, document: Mapping[str, Any]) -> str:
        """See the port."""
        own = orjson.dumps(owned(document, self._tenant), option=orjson.OPT_SORT_KEYS)
        with translated(f"execution {machine} {name}"):
            self._client().start_execution(
                stateMachineArn=self._arn(machine),
                name=execution_name(self._tenant, name),
                input=own.decode(),
            )
        return name

    def describe(self, machine: str, name: str) -> Execution:
        """See the port."""
        arn = self._arn(machine).replace(":stateMachine:", ":execution:")
        with translated(f"execution {machine} {name}"):
            found = self._client().describe_execution(
                executionArn=f"{arn}:{execution_name(self._tenant, name)}"
            )
        output = found.get("output")
        return Execution(
            name,
            found["status"],
            None if output is None else orjson.loads(output),
            found.get("error"),
            found.get("cause"),
        )

    def _arn(self, machine: str) -> str:
        arn = self._settings.machine(machine)
        if arn is None:
            raise Missing(f"state machine {machine}")
        return arn


class AwsHome:
    """`vireo.ports.Home` in an AWS account."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, meter: Meter | None = None
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.meter: Meter = meter or EmfMeter(settings.metrics_namespace, self.clock)
        self.clients = Clients(settings)
        self._cache = _caches(settings, self.clock, self.meter)

    def open(self, tenant: str) -> Ports:
        """The ports of one tenant. Raises `Refused` for what is no tenant's name."""
        checked_tenant(tenant)
        scratch = Path(self.settings.scratch) / tenant
        scratch.mkdir(parents=True, exist_ok=True)
        clients, settings = self.clients, self.settings
        return Ports(
            records=AwsRecords(lambda: clients("dynamodb"), tenant, settings, self.clock),
            blobs=S3Blobs(lambda: clients("s3"), tenant, settings.bucket),
            cache=self._cache(tenant),
            stream=KinesisStream(lambda: clients("kinesis"), tenant, settings.stream),
            executions=StepFunctions(lambda: clients("stepfunctions"), tenant, settings),
            clock=self.clock,
            meter=self.meter,
            scratch=str(scratch),
            releases=LambdaReleases(clients, tenant, settings)
            if settings.serving_function
            else AtOnce(),
            serves=settings.bundles().get(tenant),
        )

    def handler(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """The function as Lambda calls it: when it returns, its metrics have been written."""

        def flushed(event: Any, context: Any) -> Any:
            try:
                return function(event, context)
            finally:
                if isinstance(self.meter, EmfMeter):
                    self.meter.flush()

        return flushed


def _caches(settings: Settings, clock: Clock, meter: Meter) -> Callable[[str], Cache]:
    """What makes the cache of a tenant."""
    if settings.redis_url is None:
        return lambda _: NoCache()
    # Imported here: it takes half of what numpy takes, and only who recommends has a cache.
    from vireo.homes.aws_sign_in import RoleSignIn  # noqa: PLC0415
    from vireo.homes.redis_cache import RedisCache, RedisServer  # noqa: PLC0415

    identity = settings.redis_identity
    server = RedisServer(
        settings.redis_url,
        clock,
        time_limit=settings.cache_seconds,
        credentials=None if identity is None else RoleSignIn(identity),
    )
    return lambda tenant: RedisCache(server, tenant, meter)


@cache
def home() -> AwsHome:
    """The home of this function, as its environment says. Raises `vireo.settings.WrongSettings`."""
    return AwsHome(Settings.from_env(os.environ))
