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


def as_parquet(payloads: Sequence[bytes]) -> bytes:
    """A file of events and exposures, as the stream carries them and `delivery.app` let them go on.

    Raises ValueError for what is neither.
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
