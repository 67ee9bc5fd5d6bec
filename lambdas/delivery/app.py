"""Firehose's transformation function: selects the records to collect, and their partition."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vireo.events.tracking import read
from vireo.ports import Arrival
from vireo.projection import Poison


def transform(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """The handler of transformation events, for a delivery stream that reads from Kinesis.

    Events and exposures are kept, with tenant and date of arrival as partition keys
    (``partitionKeyFromLambda``). Other records are dropped here: the consumer keeps them as dead
    letters.
    """
    return {"records": [_judged(record) for record in event["records"]]}


def _judged(record: Mapping[str, Any]) -> dict[str, Any]:
    metadata = record["kinesisRecordMetadata"]
    tenant, _, key = metadata["partitionKey"].partition("#")
    arrived = metadata["approximateArrivalTimestamp"] / 1e3  # Firehose gives milliseconds
    position = int(metadata["sequenceNumber"])
    payload = base64.b64decode(record["data"])
    try:
        read(Arrival(key, payload, metadata["shardId"], position, arrived))
    except Poison:
        return {"recordId": record["recordId"], "result": "Dropped", "data": record["data"]}
    date = datetime.fromtimestamp(arrived, UTC).date().isoformat()
    return {
        "recordId": record["recordId"],
        "result": "Ok",
        "data": record["data"],
        "metadata": {"partitionKeys": {"tenant": tenant, "date": date}},
    }
