"""The function behind the stream's event source mapping; reports records to be redelivered."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from vireo.events.tracking import Tracking
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Home, Refused
from vireo.tenants import Tenants

SYSTEM = "_system"


def follower(home: Home) -> Callable[[Mapping[str, Any], object], dict[str, Any]]:
    """The handler of Kinesis events, with ``ReportBatchItemFailures``.

    A record's tenant is before ``#`` in its partition key, as `vireo.ports.Stream` writes it. The
    mapping must process one batch of a shard at a time (a parallelisation factor of 1).
    """
    tracking = Tenants(home, Tracking)

    def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
        batches: dict[str, list[Arrival]] = {}
        for record in event["Records"]:
            tenant, _, key = record["kinesis"]["partitionKey"].partition("#")
            batches.setdefault(tenant, []).append(_arrival(record, key))
        failed = []
        for tenant, batch in batches.items():
            try:
                known = tracking(tenant)
            except Refused as refused:
                letters = DeadLetters(home.open(SYSTEM).blobs)
                for arrival in batch:
                    letters.bury(arrival, str(refused))
            else:
                failed.append(known.follow(batch))
        # Lambda redelivers from the lowest on; records after it that are done are recognised then.
        return {"batchItemFailures": [{"itemIdentifier": str(p)} for p in failed if p is not None]}

    return handler


def _arrival(record: Mapping[str, Any], key: str) -> Arrival:
    kinesis = record["kinesis"]
    return Arrival(
        key=key,
        payload=base64.b64decode(kinesis["data"]),
        shard=record["eventID"].partition(":")[0],
        position=int(kinesis["sequenceNumber"]),
        arrived=float(kinesis["approximateArrivalTimestamp"]),
    )
