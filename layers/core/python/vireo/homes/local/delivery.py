"""Firehose on a laptop: what is on the stream, as files by tenant and date of arrival.

Like Firehose it asks a function about every record. Unlike it, it buffers nothing: a file is
written when enough records wait in the log, or the first has waited long enough, and only then
does it go on. A file is named by where it begins, so what a killed process had written is replaced
by the same and more.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vireo.homes.local.loop import Position
from vireo.homes.local.stream import StreamLog, StreamRecord
from vireo.ports import Blobs, Clock

#: A file is written of so many bytes of the log or after so many seconds, and has so many rows.
BYTES, SECONDS, ROWS = 8 * 1024 * 1024, 60.0, 50_000


class Delivery:
    """One delivery of all tenants' records.

    Args:
        log: of all tenants.
        folder: where it notes how far it is, a file for every shard.
        transform: a Lambda handler of Firehose's transformation events.
        convert: payloads to a file's bytes.
        blobs: a tenant's.
        clock: of the home.
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
        self._places = [Position(folder / f"shard-{j:04d}.position") for j in range(log.shards)]

    def position(self, shard: int) -> int:
        """The sequence up to which a shard is done."""
        return self._places[shard].value

    def step(self, *, flush: bool = False) -> tuple[int, bool]:
        """Write what is due, or with ``flush`` all there is. Returns how many records, False."""
        done = 0
        for shard, place in enumerate(self._places):
            while flush or self._due(shard, place.value):
                records = self._log.read(shard, place.value, self._rows)
                if not records:
                    break
                self._write(shard, place.value, records)
                place.save(records[-1].sequence)
                done += len(records)
        return done, False

    def waiting(self) -> Iterator[bytes]:
        """Payloads that are on the stream and in no file yet."""
        for shard, place in enumerate(self._places):
            for record in self._log.read(shard, place.value, self._rows):
                yield record.payload

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
