"""Collected events as Parquet: the columns of the model, as Firehose writes them in AWS."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from vireo.events.models import COLUMNS, EventRow, Exposure

#: Arrow's types by Hive's.
TYPES = {
    "string": pa.string(),
    "double": pa.float64(),
    "int": pa.int32(),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}
SCHEMA = pa.schema([pa.field(name, TYPES[hive]) for name, hive in COLUMNS.items()])


def as_parquet(payloads: Sequence[bytes]) -> bytes | None:
    """A file of the records of a stream that are events or exposures; None when none is.

    The others are the consumer's dead letters.
    """
    rows = [row for row in map(_row, payloads) if row is not None]
    if not rows:
        return None
    buffer = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def _row(payload: bytes) -> dict[str, Any] | None:
    try:
        given = orjson.loads(payload)
        kind = isinstance(given, dict) and given.get("type")
        model = Exposure if kind == "exposure" else EventRow
        row = model.model_validate(given).model_dump(mode="json")
    except ValueError:
        return None
    if "experiments" in row:
        row["experiments"] = sorted(row["experiments"].items())
    return row
