"""The data set format of docs/dataset.md: a reader that reports bad rows, and a writer."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from vireo.catalogue.models import Video
from vireo.fields import Identifier
from vireo.jobs.lines import Chunk, DatasetError, Rejected, open_text, read_columns
from vireo.jobs.progress import Progress
from vireo.training.data import event_table as event_rows
from vireo.viewers.profile import Profile

OnError = Literal["skip", "stop"]

_Row = TypeVar("_Row", bound=BaseModel)
_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_CSV_BARE = pa_csv.WriteOptions(quoting_style="none", quoting_header="none")
_CSV_QUOTED = pa_csv.WriteOptions(quoting_style="needed", quoting_header="none")
_LISTS = ("tags", "countries_allowed", "countries_blocked")
_VIDEO_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("title", pa.string()),
        ("category", pa.string()),
        ("channel_id", pa.string()),
        ("language", pa.string()),
        ("duration_seconds", pa.float64()),
        ("published_at", pa.timestamp("us", "UTC")),
        ("tags", pa.list_(pa.string())),
        ("age_rating", pa.int16()),
        ("status", pa.string()),
        ("countries_allowed", pa.list_(pa.string())),
        ("countries_blocked", pa.list_(pa.string())),
        ("available_from", pa.timestamp("us", "UTC")),
        ("available_until", pa.timestamp("us", "UTC")),
    ]
)
_USER_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("age", pa.int16()),
        ("country", pa.string()),
        ("language", pa.string()),
        ("joined_at", pa.timestamp("us", "UTC")),
    ]
)


class User(Profile):
    """A row of ``users``."""

    user_id: Identifier


@dataclass(frozen=True)
class Dataset:
    """A validated data set; events are in the order of their source."""

    events: pa.Table  #: vireo.training.data.event_table.SCHEMA
    videos: Sequence[Video]
    users: Mapping[str, Profile]
    rejected: Sequence[Rejected] = ()
    #: rows read by file, the rejected ones included
    read: Mapping[str, int] = field(default_factory=dict)

    def reasons(self) -> list[tuple[str, str, int]]:
        """(file, reason, number of rows), most frequent first."""
        counts = Counter((r.file, r.reason) for r in self.rejected)
        return [(f, why, n) for (f, why), n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))]


@dataclass
class Collector:
    """Collects the valid and the rejected rows of any format, under one policy."""

    on_error: OnError = "skip"
    progress: Progress | None = None
    events: list[pa.Table] = field(default_factory=list)
    videos: dict[str, Video] = field(default_factory=dict)
    users: dict[str, Profile] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)
    _sequence: int = 0

    def count(self, file: str, rows: int) -> None:
        """Add to the number of rows read from a file."""
        self.read[file] += rows
        if self.progress is not None:
            self.progress(None, f"{file}: {self.read[file]:,} rows")

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Record bad rows. Raises `DatasetError` with the first of them under ``stop``."""
        if rejected and self.on_error == "stop":
            first = min(rejected)
            raise DatasetError(f"{first.file}, line {first.line}: {first.reason}")
        self.rejected.extend(rejected)

    def checked(self, file: str, chunk: Chunk, raw: pa.Table) -> tuple[pa.Table, NDArray[np.bool_]]:
        """The valid events of a chunk, with consecutive ``sequence``; and a mask of their rows.

        Args:
            file: its name.
            chunk: some of its lines.
            raw: the chunk's rows with the columns of ``events``.
        """
        table, bad, reasons = event_rows.check(raw, self._sequence)
        self._sequence += raw.num_rows
        found = zip(chunk.lines[bad].tolist(), reasons, strict=True)
        self.reject([*chunk.rejected, *(Rejected(file, line, why) for line, why in found)])
        self.count(file, raw.num_rows + len(chunk.rejected))
        good = np.ones(raw.num_rows, bool)
        good[bad] = False
        return table, good

    def add_video(self, fields: Mapping[str, Any], file: str, line: int) -> None:
        """Add a video, or reject its line."""
        video = self._checked(Video, fields, file, line)
        if video is not None and self._is_new(video.video_id, self.videos, file, line, "video_id"):
            self.videos[video.video_id] = video

    def add_user(self, fields: Mapping[str, Any], file: str, line: int) -> None:
        """Add a user, or reject the line."""
        user = self._checked(User, fields, file, line)
        if user is not None and self._is_new(user.user_id, self.users, file, line, "user_id"):
            self.users[user.user_id] = Profile(**user.model_dump(exclude={"user_id"}))

    def dataset(self) -> Dataset:
        """The collected data, in an order that does not depend on that of the files' rows."""
        return Dataset(
            pa.concat_tables([event_rows.SCHEMA.empty_table(), *self.events]),
            [self.videos[v] for v in sorted(self.videos)],
            {u: self.users[u] for u in sorted(self.users)},
            sorted(self.rejected),
            dict(self.read),
        )

    def _checked(
        self, model: type[_Row], fields: Mapping[str, Any], file: str, line: int
    ) -> _Row | None:
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"]
            self.reject([Rejected(file, line, f"{where}: {message}" if where else message)])
            return None

    def _is_new(
        self, key: str, known: Mapping[str, object], file: str, line: int, name: str
    ) -> bool:
        if key in known:
            self.reject([Rejected(file, line, f"{name}: given before")])
        return key not in known


def is_dataset(folder: Path) -> bool:
    """True if a folder holds an ``events`` file of the format."""
    return any((folder / f"events{suffix}").is_file() for suffix in _SUFFIXES)


def read(folder: Path, on_error: OnError = "skip", progress: Progress | None = None) -> Dataset:
    """Read a data set; ``videos`` and ``users`` may be missing.

    Without ``videos``, the catalogue has the ids that occur in the events. Raises `DatasetError` if
    a file is unreadable, or under ``stop`` at the first bad row.
    """
    collector = Collector(on_error, progress)
    events = _find(folder, "events")
    if events is None:
        raise DatasetError(f"{folder}: no events.csv, events.csv.gz or events.parquet")
    _read_events(events, collector)
    if (videos := _find(folder, "videos")) is not None:
        for fields, line in _records(videos, _VIDEO_SCHEMA.names, "video_id", collector):
            collector.add_video(fields, videos.name, line)
    else:
        for table in collector.events:
            for video_id in pc.unique(table.column("video_id")).to_pylist():
                collector.videos.setdefault(video_id, Video(video_id=video_id, title=video_id))
    if (users := _find(folder, "users")) is not None:
        for fields, line in _records(users, _USER_SCHEMA.names, "user_id", collector):
            collector.add_user(fields, users.name, line)
    return collector.dataset()


def _find(folder: Path, kind: str) -> Path | None:
    found = [folder / f"{kind}{s}" for s in _SUFFIXES if (folder / f"{kind}{s}").is_file()]
    if len(found) > 1:
        raise DatasetError(f"{folder}: both {found[0].name} and {found[1].name}")
    return found[0] if found else None


def _read_events(path: Path, collector: Collector) -> None:
    chunks = _row_chunks(path) if path.suffix == ".parquet" else read_columns(path)
    for chunk in chunks:
        table, _ = collector.checked(path.name, chunk, chunk.columns)
        collector.events.append(table)


def _row_chunks(path: Path) -> Iterator[Chunk]:
    first = 1
    for batch in _batches(path):
        lines = np.arange(first, first + batch.num_rows)
        yield Chunk(pa.Table.from_batches([batch]), lines, [])
        first += batch.num_rows


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(path).iter_batches(batch_size=200_000)
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path.name}: cannot be read: {error}") from error


def _records(
    path: Path, names: Sequence[str], key: str, collector: Collector
) -> Iterator[tuple[dict[str, Any], int]]:
    """Known, non-empty fields of every row, with its line; lists are split at ``|``."""
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path, collector)
    known = set(names)
    number = 0
    for row, line in rows:
        number += 1
        if key not in row:
            raise DatasetError(f"{path.name}: no column {key}")
        fields = {k: v for k, v in row.items() if k in known and v is not None and v != ""}
        for name in _LISTS:
            if isinstance(value := fields.get(name), str):
                fields[name] = [part.strip() for part in value.split("|") if part.strip()]
        yield fields, line
        if number % 10_000 == 0:
            collector.count(path.name, 10_000)
    collector.count(path.name, number % 10_000)


def _parquet_rows(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    line = 0
    for batch in _batches(path):
        for row in batch.to_pylist():
            line += 1
            yield row, line


def _csv_rows(path: Path, collector: Collector) -> Iterator[tuple[dict[str, Any], int]]:
    """Rows of a file whose quoted texts may contain line ends, each with its first line number."""
    # Bytes that are not UTF-8 become lone surrogates, which the models refuse row by row.
    with open_text(path, errors="surrogateescape") as file:
        reader = csv.reader(file, strict=True)
        try:
            names = next(reader, [])
            line = reader.line_num + 1
            for row in reader:
                if len(row) == len(names):
                    yield dict(zip(names, row, strict=True)), line
                elif row:
                    why = f"{len(row)} columns instead of {len(names)}"
                    collector.reject([Rejected(path.name, line, why)])
                line = reader.line_num + 1
        except (csv.Error, EOFError, OSError) as error:
            raise DatasetError(f"{path.name}, line {reader.line_num}: {error}") from error


def write(dataset: Dataset, folder: Path, suffix: str = ".parquet") -> None:
    """Write a data set; equal data give equal bytes.

    Args:
        dataset: the data.
        folder: replaces the data set in it.
        suffix: ``.parquet``, ``.csv`` or ``.csv.gz``. CSV cannot hold a tag with ``|`` in it, nor
            an empty list of allowed countries: `DatasetError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("events", "videos", "users"):
        for other in _SUFFIXES:
            (folder / f"{kind}{other}").unlink(missing_ok=True)
    videos = pa.Table.from_pylist([v.model_dump() for v in dataset.videos], _VIDEO_SCHEMA)
    users = [{"user_id": u, **p.model_dump()} for u, p in dataset.users.items()]
    # The order of the rows replaces ``sequence``.
    events = dataset.events.sort_by("sequence").drop_columns(["sequence"])
    _write(events, folder / f"events{suffix}")
    _write(videos, folder / f"videos{suffix}")
    _write(pa.Table.from_pylist(users, _USER_SCHEMA), folder / f"users{suffix}")


def write_rejected(rejected: Sequence[Rejected], path: Path) -> None:
    """Write a CSV of the rows that were left out: file, line, reason."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "line", "reason"])
        writer.writerows([r.file, r.line, r.reason] for r in rejected)


def _write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path, compression="zstd")
        return
    text = io.BytesIO()
    if any(pa.types.is_list(f.type) or pa.types.is_timestamp(f.type) for f in table.schema):
        rows = [[_cell(n, v) for n, v in row.items()] for row in table.to_pylist()]
        wrapper = io.TextIOWrapper(text, encoding="utf-8", newline="")
        csv.writer(wrapper, lineterminator="\n").writerows([table.column_names, *rows])
        wrapper.flush()
    else:
        # An empty column would cost a comma in each of a million rows.
        given = [c for c in table.column_names if table.column(c).null_count < table.num_rows]
        table = table.select(given or table.column_names)
        try:
            pa_csv.write_csv(table, text, _CSV_BARE)
        except pa.ArrowInvalid:  # an id holds a comma or a quote: quote every text
            text = io.BytesIO()
            pa_csv.write_csv(table, text, _CSV_QUOTED)
    data = text.getvalue()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        if any("|" in part for part in value):
            raise DatasetError(f"{name}: CSV separates by |, which {value!r} holds; use Parquet")
        if not value and name == "countries_allowed":
            raise DatasetError("countries_allowed: CSV cannot say 'nowhere'; use Parquet")
        return "|".join(value)
    return value
