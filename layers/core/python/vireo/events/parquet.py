"""Collected events as Parquet files, with the columns that Firehose writes in AWS."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from vireo.events.models import COLUMNS, EventRow, Exposure

#: Arrow type of each Hive type.
TYPES = {
    "string": pa.string(),
    "double": pa.float64(),
    "int": pa.int32(),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}
SCHEMA = pa.schema([pa.field(name, TYPES[hive]) for name, hive in COLUMNS.items()])


def as_parquet(payloads: Sequence[bytes]) -> bytes:
    """A file of events and exposures, from the stream's payloads that `delivery.app` accepted.

    Raises ValueError for any other payload.
    """
    buffer = BytesIO()
    table = pa.Table.from_pylist([_row(payload) for payload in payloads], schema=SCHEMA)
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _row(payload: bytes) -> dict[str, Any]:
    given = orjson.loads(payload)
    model = Exposure if given["type"] == "exposure" else EventRow
    row = model.model_validate(given).model_dump(mode="json")
    if "experiments" in row:
        row["experiments"] = sorted(row["experiments"].items())
    return row
