"""KuaiRand's CSVs (Gao et al., CIKM 2022): logs, user features and basic video features.

A row of a log is one exposure with all its feedback. It becomes an impression and, depending on its
flags, a click, a watch, a like, a comment, a share (forward) and a dislike (hate). The standard and
the random logs are read together, in order of their names. The data have no titles: a video is
named by its kind and its tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vireo.jobs.lines import DatasetError, read_columns
from vireo.jobs.progress import Progress
from vireo.training.data import event_table
from vireo.training.data.dataset import Collector, Dataset, OnError

#: Column that flags an event, by its type; every row is an impression.
_FLAGS = {
    "click": "is_click",
    "watch": "play_time_ms",
    "like": "is_like",
    "comment": "is_comment",
    "share": "is_forward",
    "dislike": "is_hate",
}
_REQUIRED = ("user_id", "video_id", "time_ms", "play_time_ms", "duration_ms", "is_click")


def is_kuairand(folder: Path) -> bool:
    """True if a folder (or its ``data``) holds KuaiRand's logs."""
    return bool(_files(folder, "log_"))


def read(folder: Path, on_error: OnError = "skip", progress: Progress | None = None) -> Dataset:
    """The data set. Raises `DatasetError` as `vireo.training.data.dataset.read` does."""
    collector = Collector(on_error, progress)
    for path in _files(folder, "log_"):
        _read_log(path, collector)
    for path in _files(folder, "video_features_basic"):
        for row, line in _rows(path, collector):
            collector.add_video(_video(row), path.name, line)
    for path in _files(folder, "user_features"):
        for row, line in _rows(path, collector):
            collector.add_user({"user_id": row["user_id"]}, path.name, line)
    return collector.dataset()


def _files(folder: Path, prefix: str) -> list[Path]:
    return sorted(
        path
        for place in (folder, folder / "data")
        for pattern in (f"{prefix}*.csv", f"{prefix}*.csv.gz")
        for path in place.glob(pattern)
    )


def _read_log(path: Path, collector: Collector) -> None:
    for chunk in read_columns(path):
        if missing := [c for c in _REQUIRED if c not in chunk.columns.column_names]:
            raise DatasetError(f"{path.name}: no column {', '.join(missing)}")
        table, good = collector.checked(path.name, chunk, _exposures(chunk.columns))
        collector.events.append(_expanded(table, chunk.columns.filter(pa.array(good))))


def _thousandth(column: pa.ChunkedArray) -> pa.Array:
    """Seconds from milliseconds as text; anything but a number is left for `event_table.check`."""
    text = column.combine_chunks()
    fits = pc.match_substring_regex(text, r"^-?[0-9]{1,18}(\.[0-9]*)?$")
    seconds = pc.divide(pc.cast(pc.if_else(fits, text, None), pa.float64()), 1e3)
    return pc.coalesce(pc.cast(seconds, pa.string()), text)


def _exposures(log: pa.Table) -> pa.Table:
    """One row per exposure, as text for `event_table.check`: user, video, time, seconds watched."""
    return pa.table(
        {
            "user_id": log.column("user_id"),
            "video_id": log.column("video_id"),
            "timestamp": _thousandth(log.column("time_ms")),
            "watch_seconds": _thousandth(log.column("play_time_ms")),
        }
    )


def _expanded(exposures: pa.Table, log: pa.Table) -> pa.Table:
    """The events of every exposure, in order; those of one exposure in order of their types."""
    parts = []
    duration = _floats(log.column("duration_ms")) / 1e3
    seconds = _floats(exposures.column("watch_seconds"))
    with np.errstate(divide="ignore", invalid="ignore"):
        # The fraction of a video that is watched twice is 1.
        fraction = np.where(duration > 0, np.minimum(seconds / duration, 1.0), np.nan)
    watched = pa.array(fraction, from_pandas=True)
    for code, kind in enumerate(event_table.TYPES):
        if kind == "impression":
            happened = np.ones(len(exposures), bool)
        elif _FLAGS.get(kind) in log.column_names:
            happened = _floats(log.column(_FLAGS[kind])) > 0
        else:
            continue
        sequence = pc.add(pc.multiply(exposures.column("sequence"), len(event_table.TYPES)), code)
        nothing = pa.nulls(len(exposures), pa.float64())
        part = exposures.set_column(
            exposures.schema.get_field_index("type"), "type", pa.array([kind] * len(exposures))
        )
        part = _with(part, "sequence", sequence)
        if kind == "watch":
            part = _with(part, "watch_fraction", watched)
        else:
            part = _with(part, "watch_seconds", nothing)
        part = _with(part, "event_id", _named(part, kind))
        parts.append(part.filter(pa.array(happened)).cast(event_table.SCHEMA))
    return pa.concat_tables(parts).sort_by("sequence")


def _named(rows: pa.Table, kind: str) -> pa.ChunkedArray:
    """Event ids with the kind in place of "watch": user/video/kind/microseconds."""
    return pc.replace_substring(rows.column("event_id"), "/watch/", f"/{kind}/")


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def _floats(column: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers of a column, NaN for anything else."""
    if pa.types.is_string(column.type):
        fits = pc.match_substring_regex(column, r"^-?[0-9]+(\.[0-9]*)?$")
        column = pc.cast(pc.if_else(fits, column, None), pa.float64())
    return np.asarray(pc.fill_null(pc.cast(column, pa.float64()), np.nan))


def _video(row: dict[str, Any]) -> dict[str, Any]:
    """Fields of a `Video`; all are public, as the codes of ``visible_status`` are unpublished."""
    tags = [t.strip() for t in (row.get("tag") or "").split(",") if t.strip()]
    kind = (row.get("video_type") or "").strip()
    title = " ".join([kind.capitalize() or "Video", *(f"topic {t}" for t in tags)])
    fields: dict[str, Any] = {"video_id": row["video_id"], "title": title, "tags": tags}
    if tags:
        fields["category"] = tags[0]
    if author := row.get("author_id"):
        fields["channel_id"] = author
    if published := row.get("upload_dt"):
        # A date in Beijing's time zone.
        fields["published_at"] = f"{published}T00:00:00+08:00"
    if duration := row.get("video_duration"):
        fields["duration_seconds"] = _seconds(duration)
    return fields


def _seconds(milliseconds: str) -> Any:
    try:
        return float(milliseconds) / 1e3 or None
    except ValueError:
        return milliseconds


def _rows(path: Path, collector: Collector) -> Iterator[tuple[dict[str, Any], int]]:
    for chunk in read_columns(path):
        collector.reject(chunk.rejected)
        yield from zip(chunk.columns.to_pylist(), chunk.lines.tolist(), strict=True)
        collector.count(path.name, len(chunk.lines) + len(chunk.rejected))
