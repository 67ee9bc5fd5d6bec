"""Preprocessing: from events, catalogue and users to the arrays that models learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vireo.catalogue.columns import Columns, Vocabulary, encode
from vireo.catalogue.models import Video
from vireo.keys import keys_of
from vireo.text import describe, embed_all
from vireo.training.data import formats, relational
from vireo.training.data.activity import Activity
from vireo.training.data.dataset import Dataset
from vireo.training.data.event_table import TYPES
from vireo.training.data.log import Log, People
from vireo.training.data.prepared import Prepared, Report
from vireo.training.data.vocabulary import vocabulary
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import POSITIVE_FRACTION, POSITIVE_SECONDS


@dataclass(frozen=True)
class Settings:
    """The rules by which events become interactions."""

    engine: str = "duckdb"  #: an Ibis backend's name
    watched_fraction: float = POSITIVE_FRACTION  #: a watch of this share of a video is positive …
    watched_seconds: float = POSITIVE_SECONDS  #: … or one of this many seconds
    clock_tolerance: float = 300.0  #: seconds that an event may lie in the future
    minimum_count: int = 2  #: less frequent categories, languages and devices are "unknown"
    like_weight: float = 2.0  #: weight of a like, comment or share; that of a watch is 1


def read(folder: Path, *, now: float, settings: Settings | None = None) -> Prepared:
    """Preprocess a folder in our format (docs/dataset.md) or another, skipping bad rows."""
    return from_dataset(formats.read(folder), now=now, settings=settings)


def from_dataset(data: Dataset, *, now: float, settings: Settings | None = None) -> Prepared:
    """Preprocess a data set in memory; events later than ``now`` (unix seconds) are left out."""
    settings = settings or Settings()
    engine = connect(settings.engine)
    events = engine.create_table("events", data.events)
    return prepare(engine, events, data.videos, data.users, now=now, settings=settings)


def connect(engine: str, **options: Any) -> Any:
    """An Ibis backend by name; DuckDB computes in this process."""
    return getattr(ibis, engine).connect(**options)


def prepare(
    engine: Any,
    events: Any,
    videos: Sequence[Video],
    users: Mapping[str, Profile],
    *,
    now: float,
    settings: Settings,
) -> Prepared:
    """Preprocess a table of events that ``engine``, an Ibis backend, can read.

    Users that occur only in events have no profile. Events of videos that are not in the catalogue
    are left out.
    """
    ids = pa.table({"video_id": pa.array([v.video_id for v in videos], pa.string())})
    catalogue = engine.create_table("catalogue_ids", ids, overwrite=True)
    rows = relational.judged(events, catalogue, now=now, tolerance=settings.clock_tolerance)
    counts = engine.to_pyarrow(relational.summary(rows)).to_pylist()
    kept = Counter({c["type"]: c["n"] for c in counts if c["problem"] == ""})
    wanted = engine.to_pyarrow(
        relational.positives(
            rows,
            fraction=settings.watched_fraction,
            seconds=settings.watched_seconds,
            clicks=kept["watch"] == 0,
        )
    )
    everything = engine.to_pyarrow(relational.activity(rows))
    words = vocabulary(videos, users, wanted, settings.minimum_count)
    columns = encode(videos, words)
    people = _people(users, everything, words)
    log = _log(wanted, columns, people, words, videos=videos, settings=settings)
    return Prepared(log, _activity(everything, columns, people), _report(counts, log))


def split(log: Log, train: float = 0.8, validation: float = 0.1) -> tuple[int, int]:
    """Positions that cut the log by time: [0, a) train, [a, b) validation, [b, n) test."""
    n = len(log)
    return int(n * train), int(n * (train + validation))


def _people(users: Mapping[str, Profile], everything: pa.Table, words: Vocabulary) -> People:
    ids = sorted({*users, *pc.unique(everything.column("user_id")).to_pylist()})
    profiles = [users.get(i, Profile()) for i in ids]
    return People(
        ids=np.array([i.encode() for i in ids], dtype=np.bytes_),
        age=np.array([-1 if p.age is None else p.age for p in profiles], np.int16),
        country=np.array([words.code("countries", p.country) for p in profiles], np.int16),
        language=np.array([words.code("languages", p.language) for p in profiles], np.int16),
    )


def _log(
    wanted: pa.Table,
    columns: Columns,
    people: People,
    words: Vocabulary,
    *,
    videos: Sequence[Video],
    settings: Settings,
) -> Log:
    texts = {v.video_id.encode(): describe(v.title, v.tags) for v in videos}
    explicit = pc.is_in(wanted.column("type"), pa.array(["like", "comment", "share"]))
    return Log(
        user=_user_rows(wanted, people),
        video=_video_rows(wanted, columns),
        time=wanted.column("timestamp").to_numpy(),
        device=_coded(wanted, "device", lambda d: words.code("devices", d)).astype(np.int8),
        weight=np.where(explicit.to_numpy(), settings.like_weight, 1.0).astype(np.float32),
        place=_places(wanted),
        people=people,
        videos=columns,
        text=embed_all(texts[i] for i in columns.ids.tolist()),
        vocabulary=words,
    )


def _activity(everything: pa.Table, columns: Columns, people: People) -> Activity:
    return Activity(
        user=_user_rows(everything, people),
        video=_video_rows(everything, columns),
        type=_coded(everything, "type", TYPES.index).astype(np.int8),
        time=everything.column("timestamp").to_numpy(),
        seconds=_floats(everything, "watch_seconds"),
        fraction=_floats(everything, "watch_fraction"),
        place=_places(everything),
        recommended=np.asarray(everything.column("recommended"), bool),
        n_videos=len(columns),
    )


def _user_rows(rows: pa.Table, people: People) -> NDArray[np.int32]:
    row_of = {i.decode(): j for j, i in enumerate(people.ids.tolist())}
    return _coded(rows, "user_id", row_of.__getitem__).astype(np.int32)


def _video_rows(rows: pa.Table, columns: Columns) -> NDArray[np.int32]:
    encoded = rows.column("video_id").combine_chunks().dictionary_encode()
    at: NDArray[np.int32] = columns.rows(keys_of(encoded.dictionary.to_pylist()))
    return at[np.asarray(encoded.indices, np.int64)]


def _coded(rows: pa.Table, name: str, code: Any) -> NDArray[np.int64]:
    """``code`` of every value of a text column, called once per distinct value."""
    encoded = rows.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
    codes = np.array([code(v) for v in encoded.dictionary.to_pylist()], np.int64)
    return codes[encoded.indices.to_numpy()] if len(codes) else np.zeros(0, np.int64)


def _floats(rows: pa.Table, name: str) -> NDArray[np.float32]:
    return np.asarray(pc.fill_null(rows.column(name), np.nan), np.float32)


def _places(rows: pa.Table) -> NDArray[np.int32]:
    return np.asarray(pc.fill_null(rows.column("position"), -1), np.int32)


def _report(counts: Sequence[Mapping[str, Any]], log: Log) -> Report:
    dropped: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for row in counts:
        if row["problem"]:
            dropped[row["problem"]] += row["n"]
        else:
            types[row["type"]] += row["n"]
    return Report(
        read=dropped.total() + types.total(),
        kept=types.total(),
        positives=len(log),
        dropped=dict(sorted(dropped.items())),
        types=dict(sorted(types.items())),
        users=log.n_users,
        videos=log.n_videos,
        first=float(log.time[0]) if len(log) else float("nan"),
        last=float(log.time[-1]) if len(log) else float("nan"),
    )
