"""Lambda's event source mapping on a laptop: calls a function with Kinesis events from the log.

Like Lambda it passes batches of a shard in order, continues after the records that are done, and
redelivers from the first failure on. After a crash it redelivers what it did since its position was
last stored.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vireo.homes.local.loop import places
from vireo.homes.local.stream import StreamLog, StreamRecord

BATCH = 500
#: Steps with more to do after which positions are stored; they are whenever nothing is left to do.
STEPS = 20


class EventSourceMapping:
    """The mapping of one function that consumes the log.

    Args:
        log: the log of all tenants.
        folder: for its positions, a file for every shard.
        function: a Lambda handler of Kinesis events that reports failures of single records.
        batch: maximum number of records in one call.
        sync: brings on disk what the function wrote, before a position is stored.
    """

    def __init__(
        self,
        log: StreamLog,
        folder: Path,
        function: Callable[[Any, Any], Mapping[str, Any]],
        *,
        batch: int = BATCH,
        sync: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._function = function
        self._batch = batch
        self._sync = sync
        self._places = places(log, folder)
        self._reached = [place.value for place in self._places]
        self._steps = 0  #: since positions were stored

    def position(self, shard: int) -> int:
        """The sequence number up to which a shard has been processed for good."""
        return self._places[shard].value

    def step(self) -> tuple[int, bool]:
        """Process one batch of every shard. Returns the number of records done, and any failure."""
        done, failed, more = 0, False, False
        for shard, reached in enumerate(self._reached):
            records = self._log.read(shard, reached, self._batch)
            if records:
                good = self._call(shard, records)
                done += good
                failed |= good < len(records)
                more |= len(records) == self._batch
                if good:
                    self._reached[shard] = records[good - 1].sequence
        self._steps += 1
        if not more or self._steps >= STEPS:
            self._store()
        return done, failed

    def _store(self) -> None:
        """Store the positions that changed, after what was done up to them."""
        self._steps = 0
        changed = [
            (place, reached)
            for place, reached in zip(self._places, self._reached, strict=True)
            if place.value != reached
        ]
        if changed:
            self._sync()
        for place, reached in changed:
            place.save(reached)

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
