"""Lambda's event source mapping on a laptop: the very event that Kinesis sends, from the log.

Like Lambda it hands over batches of a shard in order, goes on after what is done, and comes again
with what failed, from the first failure on. A process that dies comes again with its last batch.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vireo.homes.local_stream import StreamLog, StreamRecord

log = logging.getLogger("vireo.mapping")
BATCH = 500
#: Seconds between looks at an idle log, and after a failure.
IDLE, AGAIN = 0.05, 1.0


class EventSourceMapping:
    """One function that follows the log.

    Args:
        log: of all tenants.
        folder: where it notes how far it is, a file for every shard.
        function: a Lambda handler of Kinesis events that reports failures of single records.
        batch: records in one call, at most.
    """

    def __init__(
        self,
        log: StreamLog,
        folder: Path,
        function: Callable[[Any, Any], Mapping[str, Any]],
        *,
        batch: int = BATCH,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._function = function
        self._batch = batch
        self._places = [folder / f"shard-{j:04d}.position" for j in range(log.shards)]
        self._after = [_read(place) for place in self._places]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self) -> tuple[int, bool]:
        """One batch of every shard. Returns how many records are done, and whether any failed."""
        done, failed = 0, False
        for shard in range(self._log.shards):
            records = self._log.read(shard, self._after[shard], self._batch)
            if records:
                good = self._call(shard, records)
                done += good
                failed |= good < len(records)
                if good:
                    self._after[shard] = records[good - 1].sequence
                    _write(self._places[shard], self._after[shard])
        return done, failed

    def run(self) -> None:
        """Follow until `stop`."""
        while not self._stop.is_set():
            try:
                done, failed = self.step()
            except Exception:
                log.exception("a batch failed; it comes again")
                done, failed = 0, True
            if failed or not done:
                self._stop.wait(AGAIN if failed else IDLE)

    def start(self) -> None:
        """Follow in a thread."""
        self._thread = threading.Thread(target=self.run, name="mapping", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the batch under way finish."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _call(self, shard: int, records: Sequence[StreamRecord]) -> int:
        """How many of the records are done: those before the first that failed."""
        event = {"Records": [_kinesis(shard, record) for record in records]}
        answer = self._function(event, None)
        failed = {str(f["itemIdentifier"]) for f in answer["batchItemFailures"]}
        places = [j for j, record in enumerate(records) if str(record.sequence) in failed]
        return min(places, default=len(records))


def _kinesis(shard: int, record: StreamRecord) -> dict[str, Any]:
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


def _read(place: Path) -> int:
    try:
        return int(place.read_text())
    except FileNotFoundError:
        return 0


def _write(place: Path, position: int) -> None:
    beside = place.with_suffix(".new")
    beside.write_text(str(position))
    beside.replace(place)
