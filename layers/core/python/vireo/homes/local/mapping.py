"""Lambda's event source mapping on a laptop: calls a function with Kinesis events from the log.

Like Lambda it passes batches of a shard in order, continues after the records that are done, and
redelivers from the first failure on. After a crash it redelivers the last batch.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vireo.homes.local.loop import Position
from vireo.homes.local.stream import StreamLog, StreamRecord

BATCH = 500


class EventSourceMapping:
    """The mapping of one function that consumes the log.

    Args:
        log: the log of all tenants.
        folder: for its positions, a file for every shard.
        function: a Lambda handler of Kinesis events that reports failures of single records.
        batch: maximum number of records in one call.
    """

    def __init__(
        self,
        log: StreamLog,
        folder: Path,
        function: Callable[[Any, Any], Mapping[str, Any]],
        *,
        batch: int = BATCH,
    ) -> None:
        self._log = log
        self._function = function
        self._batch = batch
        self._places = [Position(folder / f"shard-{j:04d}.position") for j in range(log.shards)]

    def position(self, shard: int) -> int:
        """The sequence number up to which a shard has been processed."""
        return self._places[shard].value

    def step(self) -> tuple[int, bool]:
        """Process one batch of every shard. Returns the number of records done, and any failure."""
        done, failed = 0, False
        for shard, place in enumerate(self._places):
            records = self._log.read(shard, place.value, self._batch)
            if records:
                good = self._call(shard, records)
                done += good
                failed |= good < len(records)
                if good:
                    place.save(records[good - 1].sequence)
        return done, failed

    def _call(self, shard: int, records: Sequence[StreamRecord]) -> int:
        """The number of records done: those before the first failure."""
        event = {"Records": [kinesis_record(shard, record) for record in records]}
        answer = self._function(event, None)
        failed = {str(f["itemIdentifier"]) for f in answer["batchItemFailures"]}
        places = [j for j, record in enumerate(records) if str(record.sequence) in failed]
        return min(places, default=len(records))


def kinesis_record(shard: int, record: StreamRecord) -> dict[str, Any]:
    """A record as Lambda passes it to a handler."""
    return {
        "eventID": f"shardId-{shard:012d}:{record.sequence}",
        "eventName": "aws:kinesis:record",
        "eventSource": "aws:kinesis",
        "kinesis": {
            "partitionKey": f"{record.tenant}#{record.key}",
            "sequenceNumber": str(record.sequence),
            "approximateArrivalTimestamp": record.arrived,
            "data": base64.b64encode(record.payload).decode(),
        },
    }
