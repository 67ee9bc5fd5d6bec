"""The home in AWS: DynamoDB, S3, ElastiCache, Kinesis and Step Functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vireo.homes.aws.blobs import S3Blobs
from vireo.homes.aws.clients import Clients
from vireo.homes.aws.executions import StepFunctions
from vireo.homes.aws.meter import EmfMeter
from vireo.homes.aws.records import AwsRecords
from vireo.homes.aws.releases import LambdaReleases
from vireo.homes.aws.stream import KinesisStream
from vireo.homes.aws.versions import FunctionVersions
from vireo.homes.clock import SystemClock
from vireo.homes.names import checked_tenant
from vireo.ports import AtOnce, Cache, Clock, Meter, Ports, Table
from vireo.settings import Settings


class NoCache:
    """`vireo.ports.Cache` of a deployment without a cache: every look-up is a miss."""

    def get(self, key: str) -> bytes | None:
        """Always a miss."""

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Drop the value."""

    def delete(self, key: str) -> None:
        """Nothing to delete."""

    def add(self, key: str, amount: int = 1, *, seconds: float) -> int | None:
        """No count."""

    def add_all(self, amounts: Mapping[str, int], *, seconds: float) -> Mapping[str, int]:
        """No counts."""
        return {}


class AwsHome:
    """`vireo.ports.Home` in an AWS account."""

    #: See `vireo.tenancy.whole.Whole`: Firehose gathers for 15 minutes, and half as long again.
    late = 1800.0

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, meter: Meter | None = None
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.meter: Meter = meter or EmfMeter(settings.metrics_namespace, self.clock)
        self.clients = Clients(settings)
        self._cache = _caches(settings, self.clock, self.meter)

    def open(self, tenant: str) -> Ports:
        """The ports of one tenant. Raises `Refused` for an invalid tenant name."""
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
            versions=FunctionVersions(clients, settings.functions()),
            serves=settings.bundles().get(tenant),
        )

    def places(
        self, tenant: str, table: Table, part: int = 0, parts: int = 1
    ) -> Iterator[tuple[str, str]]:
        """See `vireo.tenancy.whole.Whole`. No function's role allows it, only people's."""
        checked_tenant(tenant)
        records = AwsRecords(lambda: self.clients("dynamodb"), tenant, self.settings, self.clock)
        return records.places(table, part, parts)

    def forget(self, tenant: str) -> None:
        """See `vireo.tenancy.whole.Whole`: AWS forgets executions by itself."""
        checked_tenant(tenant)

    def handler(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """The Lambda handler: calls ``function``, and writes its metrics before returning."""

        def flushed(event: Any, context: Any) -> Any:
            try:
                return function(event, context)
            finally:
                if isinstance(self.meter, EmfMeter):
                    self.meter.flush()

        return flushed


def _caches(settings: Settings, clock: Clock, meter: Meter) -> Callable[[str], Cache]:
    """A factory of the tenants' caches."""
    if settings.redis_url is None:
        return lambda _: NoCache()
    # Imported here: it takes half as long as numpy, and few functions have a cache.
    from vireo.homes.aws.sign_in import RoleSignIn  # noqa: PLC0415
    from vireo.homes.redis_cache import RedisServer  # noqa: PLC0415

    identity = settings.redis_identity
    server = RedisServer(
        settings.redis_url,
        clock,
        time_limit=settings.cache_seconds,
        credentials=None if identity is None else RoleSignIn(identity),
    )
    return lambda tenant: server.cache(tenant, meter)


@cache
def home() -> AwsHome:
    """The home of this function, from its environment. Raises `vireo.settings.WrongSettings`."""
    return AwsHome(Settings.from_env(os.environ))
