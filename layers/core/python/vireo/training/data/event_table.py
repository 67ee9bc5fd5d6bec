"""Events as one Arrow table: its schema, and the validation of many rows at once.

A data set's ``events`` file and the Parquet files of collected events have this layout.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vireo.events import parquet
from vireo.events.models import LATEST, LONGEST, EventRow
from vireo.jobs.lines import DatasetError
from vireo.viewers.viewer import EventType

#: Types of events; the position in this tuple is the code of a type.
TYPES = tuple(kind.value for kind in EventType)

_NEEDED = {name for name, field in EventRow.model_fields.items() if field.is_required()}
SCHEMA = pa.schema(
    [
        *(
            pa.field(name, parquet.SCHEMA.field(name).type, nullable=name not in _NEEDED)
            for name in EventRow.model_fields
        ),
        pa.field("rating", pa.float64()),
        pa.field("sequence", pa.int64()),  # order among events of one time
    ]
)
REQUIRED = ("user_id", "video_id", "timestamp")

_IDENTIFIER = r"^[!-.0-~]{1,128}$"
#: Generated ids contain "/", which ids of users and videos cannot.
_EVENT_ID = r"^[!-~]{1,512}$"
_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
)


@dataclass
class _Verdict:
    """The first reason to reject each row; code 0 is none."""

    code: NDArray[np.int16]
    reasons: list[str] = field(default_factory=lambda: [""])

    def refuse(self, bad: NDArray[np.bool_], reason: str) -> None:
        if bad.any():
            self.reasons.append(reason)
            self.code[bad & (self.code == 0)] = len(self.reasons) - 1


def check(raw: pa.Table, first: int = 0) -> tuple[pa.Table, NDArray[np.int64], list[str]]:
    """Rows of text or typed columns, converted to `SCHEMA`, without invalid ones.

    Args:
        raw: the columns of docs/dataset.md by name; unknown ones are ignored.
        first: ``sequence`` of the first row, if there is no such column.

    Returns:
        the valid rows; the positions of invalid rows, ascending; and their reasons.

    Raises `DatasetError` if a required column is missing or has an impossible type.
    """
    missing = [name for name in REQUIRED if name not in raw.column_names]
    if missing:
        raise DatasetError(f"events: no column {', '.join(missing)}")
    n = raw.num_rows
    verdict = _Verdict(np.zeros(n, np.int16))
    columns: dict[str, pa.Array] = {}
    for name in ("user_id", "video_id"):
        columns[name] = _text(raw, name, _IDENTIFIER, verdict)
        verdict.refuse(_mask(pc.is_null(columns[name])), f"{name}: missing")
    columns["type"] = pc.fill_null(_text(raw, "type", None, verdict), "watch")
    verdict.refuse(~_mask(pc.is_in(columns["type"], pa.array(TYPES))), "type: unknown")
    columns["timestamp"] = _moment(raw, verdict)
    for name, pattern in (
        ("device", _IDENTIFIER),
        ("country", r"^[A-Z]{2}$"),
        ("request_id", _IDENTIFIER),
        ("slot", _IDENTIFIER),
        ("variant", _IDENTIFIER),
    ):
        columns[name] = _text(raw, name, pattern, verdict)
    for name, low, high in (
        ("watch_seconds", 0.0, LONGEST),
        ("watch_fraction", 0.0, 1.0),
        ("rating", -1e6, 1e6),
        ("position", 0.0, 1e6),
        ("sequence", 0.0, 2.0**53),
    ):
        columns[name] = _number(raw, name, low, high, verdict)
    if "sequence" not in raw.column_names:
        columns["sequence"] = pa.array(np.arange(first, first + n, dtype=np.int64))
    columns["event_id"] = _event_ids(raw, columns, verdict)

    good = verdict.code == 0
    table = pa.table({f.name: columns[f.name] for f in SCHEMA}).filter(pa.array(good))
    bad = np.flatnonzero(~good)
    return table.cast(SCHEMA), bad, [verdict.reasons[c] for c in verdict.code[bad]]


def by_time(events: pa.Table) -> pa.Table:
    """Events in order of time, then of source, then of event id: a total order."""
    return events.sort_by(
        [("timestamp", "ascending"), ("sequence", "ascending"), ("event_id", "ascending")]
    )


def _column(raw: pa.Table, name: str) -> pa.Array | None:
    return raw.column(name).combine_chunks() if name in raw.column_names else None


def _mask(values: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False))


def _text(raw: pa.Table, name: str, pattern: str | None, verdict: _Verdict) -> pa.Array:
    column = _column(raw, name)
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(raw.num_rows, pa.string())
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (
        pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_string_view(column.type)
        or pa.types.is_integer(column.type)
    ):
        raise DatasetError(f"events: {name} is {column.type}, not text")
    column = pc.cast(column, pa.string())
    column = pc.if_else(pc.equal(column, ""), None, column)
    if pattern is not None:
        fits = pc.fill_null(pc.match_substring_regex(column, pattern), True)
        verdict.refuse(~_mask(fits), f"{name}: not of its form")
    return column


def _floats(column: pa.Array, name: str) -> tuple[pa.Array, NDArray[np.bool_]]:
    """The numbers of a column, null where empty; and a mask of values that are not numbers."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.cast(column, pa.string())
        given = pc.fill_null(pc.not_equal(column, ""), False)
        fits = pc.and_(given, pc.fill_null(pc.match_substring_regex(column, _NUMBER), False))
        numbers = pc.cast(pc.if_else(fits, column, None), pa.float64())
        return numbers, _mask(pc.and_(given, pc.invert(fits)))
    if not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_decimal(column.type)
    ):
        raise DatasetError(f"events: {name} is {column.type}, not a number")
    numbers = pc.cast(column, pa.float64(), safe=False)
    # Data frames write missing values as NaN.
    return pc.if_else(pc.is_nan(numbers), None, numbers), np.zeros(len(column), bool)


def _number(raw: pa.Table, name: str, low: float, high: float, verdict: _Verdict) -> pa.Array:
    column = _column(raw, name)
    kind = SCHEMA.field(name).type
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(raw.num_rows, kind)
    numbers, wrong = _floats(column, name)
    verdict.refuse(wrong, f"{name}: not a number")
    outside = pc.or_(pc.less(numbers, low), pc.greater(numbers, high))
    verdict.refuse(_mask(outside), f"{name}: not within {low:g} and {high:g}")
    unfit = _mask(outside)
    if pa.types.is_integer(kind):
        broken = _mask(pc.not_equal(numbers, pc.floor(numbers)))
        verdict.refuse(broken, f"{name}: not a whole number")
        unfit |= broken
    return pc.cast(pc.if_else(pa.array(unfit), None, numbers), kind, safe=False)


def _moment(raw: pa.Table, verdict: _Verdict) -> pa.Array:
    """Unix seconds, from unix seconds, ISO 8601 with a zone, or Parquet's own timestamps."""
    column = _column(raw, "timestamp")
    assert column is not None
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            raise DatasetError("events: timestamp has no time zone")
        micros = pc.cast(pc.cast(column, pa.timestamp("us", "UTC"), safe=False), pa.int64())
        seconds = pc.divide(pc.cast(micros, pa.float64(), safe=False), 1e6)
        wrong = np.zeros(len(column), bool)
    elif pa.types.is_null(column.type):
        seconds, wrong = pa.nulls(len(column), pa.float64()), np.zeros(len(column), bool)
    else:
        seconds, wrong = _floats(column, "timestamp")
        if wrong.any():
            seconds, wrong = _iso(column, seconds, wrong)
    verdict.refuse(wrong, "timestamp: neither unix seconds nor ISO 8601 with a time zone")
    verdict.refuse(_mask(pc.is_null(seconds)), "timestamp: missing")
    outside = pc.or_(pc.less(seconds, 0.0), pc.greater_equal(seconds, LATEST))
    verdict.refuse(_mask(outside), "timestamp: not between 1970 and 2100 in unix seconds")
    return seconds


def _iso(
    column: pa.Array, seconds: pa.Array, wrong: NDArray[np.bool_]
) -> tuple[pa.Array, NDArray[np.bool_]]:
    dated = wrong & _mask(pc.match_substring_regex(pc.cast(column, pa.string()), _ISO))
    texts = column.filter(pa.array(dated)).to_pandas()
    moments = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601")
    numbers = np.array(pc.fill_null(seconds, np.nan))
    stamps = moments.dt.tz_localize(None).to_numpy("datetime64[us]")
    numbers[dated] = np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / 1e6)
    return pa.array(numbers, from_pandas=True), wrong & np.isnan(numbers)


def _event_ids(raw: pa.Table, columns: dict[str, pa.Array], verdict: _Verdict) -> pa.Array:
    """The given ids; missing ones are made of user, video, type and time."""
    given = _text(raw, "event_id", _EVENT_ID, verdict)
    if given.null_count == 0:
        return given
    micros = pc.cast(
        pc.round(pc.multiply(pc.fill_null(columns["timestamp"], 0.0), 1e6)), pa.int64(), safe=False
    )
    parts = [pc.fill_null(columns[c], "") for c in ("user_id", "video_id", "type")]
    made = pc.binary_join_element_wise(*parts, pc.cast(micros, pa.string()), "/")
    return pc.coalesce(given, made)
