"""Firehose on a laptop: records of the stream, as files by tenant and date of arrival.

Like Firehose it passes every record to a transformation function. Unlike it, it buffers nothing:
when enough records wait in the log, or the first has waited long enough, it writes a file, and only
then moves its position. A file is named by its first position, so a file that a killed process
wrote is replaced by one with the same records and more.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vireo.homes.local.loop import places
from vireo.homes.local.stream import StreamLog, StreamRecord
from vireo.ports import Blobs, Clock

#: A file is due at this many bytes of log or seconds of waiting; maximum rows of a file.
BYTES, SECONDS, ROWS = 8 * 1024 * 1024, 60.0, 50_000


class Delivery:
    """The delivery of all tenants' records to files.

    Args:
        log: the log of all tenants.
        folder: for its positions, a file for every shard.
        transform: a Lambda handler of Firehose's transformation events.
        convert: turns payloads into the bytes of a file.
        blobs: the blobs of a tenant.
        clock: the home's clock.
        rows: maximum number of rows in a file.
    """

    def __init__(
        self,
        log: StreamLog,
        folder: Path,
        *,
        transform: Callable[[Any, Any], Mapping[str, Any]],
        convert: Callable[[Sequence[bytes]], bytes],
        blobs: Callable[[str], Blobs],
        clock: Clock,
        rows: int = ROWS,
    ) -> None:
        self._log = log
        self._transform = transform
        self._convert = convert
        self._blobs = blobs
        self._clock = clock
        self._rows = rows
        self._places = places(log, folder)

    def position(self, shard: int) -> int:
        """The sequence number up to which a shard has been delivered."""
        return self._places[shard].value

    def step(self, *, flush: bool = False) -> tuple[int, bool]:
        """Write the files that are due, or with ``flush`` all. Returns the number of records.

        The second value is False, because a failure raises.
        """
        done = 0
        for shard, place in enumerate(self._places):
            while flush or self._due(shard, self._after(shard)):
                after = self._after(shard)
                records = self._log.read(shard, after, self._rows)
                if not records:
                    break
                self._write(shard, after, records)
                place.save(records[-1].sequence)
                done += len(records)
        return done, False

    def waiting(self) -> Iterator[bytes]:
        """Payloads on the stream that are not in a file yet."""
        for shard, place in enumerate(self._places):
            for record in self._log.read(shard, place.value, self._rows):
                yield record.payload

    def _after(self, shard: int) -> int:
        """The number after which the next file begins; none has what was trimmed before."""
        return max(self.position(shard), self._log.begin(shard))

    def _due(self, shard: int, after: int) -> bool:
        if self._log.size(shard) - after >= BYTES:
            return True
        first = self._log.read(shard, after, 1)
        return bool(first) and self._clock.now() - first[0].arrived >= SECONDS

    def _write(self, shard: int, after: int, records: Sequence[StreamRecord]) -> None:
        event = {"records": [_firehose(shard, record) for record in records]}
        files: dict[tuple[str, str], list[bytes]] = {}
        for record in self._transform(event, None)["records"]:
            if record["result"] == "Ok":
                keys = record["metadata"]["partitionKeys"]
                payload = base64.b64decode(record["data"])
                files.setdefault((keys["tenant"], keys["date"]), []).append(payload)
        for (tenant, date), payloads in files.items():
            name = f"events/date={date}/stream-{shard:04d}-{after:015d}.parquet"
            self._blobs(tenant).write(name, self._convert(payloads))


def _firehose(shard: int, record: StreamRecord) -> dict[str, Any]:
    return {
        "recordId": str(record.sequence),
        "data": base64.b64encode(record.payload).decode(),
        "kinesisRecordMetadata": {
            "shardId": f"shardId-{shard:012d}",
            "partitionKey": f"{record.tenant}#{record.key}",
            "sequenceNumber": str(record.sequence),
            "approximateArrivalTimestamp": 1e3 * record.arrived,
        },
    }
