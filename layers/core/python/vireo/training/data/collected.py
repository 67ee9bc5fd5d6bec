"""Collected data in a home: import of a data set, and reading for training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vireo.catalogue.store import Catalogue
from vireo.jobs.lines import DatasetError
from vireo.jobs.progress import Progress, counted, silent, within
from vireo.keys import key_of, keys_of
from vireo.ports import Blobs, Delete, Ports, Put
from vireo.training.data import event_table as event_rows
from vireo.training.data import window
from vireo.training.data.dataset import Dataset
from vireo.training.data.event_table import TYPES
from vireo.training.data.prepared import Prepared
from vireo.training.data.preprocess import Settings, connect, prepare
from vireo.training.data.window import EVENTS, Limits
from vireo.viewers import rows
from vireo.viewers.erasure import erased
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import (
    HISTORY_CAP,
    POSITIVE_FRACTION,
    POSITIVE_SECONDS,
    WATCHED_CAP,
    Viewer,
)

log = logging.getLogger(__name__)

#: The schema with nulls allowed everywhere; invalid ones are left out by preprocessing.
_COLUMNS = pa.schema([pa.field(f.name, f.type) for f in event_rows.SCHEMA])


def into_home(data: Dataset, ports: Ports, progress: Progress | None = None) -> None:
    """Import a data set into a home: catalogue, viewers as of its last event, and events.

    Idempotent: files of events are named by their content, and records are replaced. A viewer's
    record is replaced by one made from the data set alone. ``progress`` is called with the share
    that is done, and a text.
    """
    events = _once(event_rows.by_time(data.events))
    Catalogue(ports).put_all(data.videos, counted(within(progress, 0.0, 0.4), "videos"))
    _put_viewers(events, data.users, ports, within(progress, 0.4, 0.7))
    _put_events(events, ports.blobs, within(progress, 0.7, 1.0))


def read_home(
    ports: Ports,
    *,
    settings: Settings | None = None,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Prepared:
    """Preprocess what a home has collected, as far as it fits, except the events of the erased.

    Raises `DatasetError` if nothing was collected.
    """
    settings = settings or Settings()
    try:
        table, taken = window.read(ports.blobs, limits or Limits(), _conformed, progress)
    except LookupError as nothing:
        raise DatasetError(str(nothing)) from None
    engine = connect(settings.engine)
    table = without(table, erased(ports.records))
    names = sorted(pc.unique(table.column("user_id").drop_null()).to_pylist())
    prepared = prepare(
        engine,
        engine.create_table("events", table),
        list(Catalogue(ports).all()),
        _profiles(ports, names),
        now=ports.clock.now(),
        settings=settings,
    )
    return replace(prepared, report=replace(prepared.report, **asdict(taken)))


def _profiles(ports: Ports, names: Iterable[str]) -> dict[str, Profile]:
    """The stored profiles, by user, but for those whose rows cannot be read."""
    found = {}
    for user_id in names:
        try:
            viewer = rows.read(ports.records, user_id)
        except ValueError:
            log.exception("a row of a viewer cannot be read")
            ports.meter.count("ViewerRefused")
            continue
        if viewer is not None:
            found[user_id] = viewer.profile
    return found


def without(table: pa.Table, erased: Mapping[int, float]) -> pa.Table:
    """The rows, except events of erased people up to the time of their erasure."""
    if not erased:
        return table
    users = table.column("user_id").combine_chunks().dictionary_encode()
    names = users.dictionary.to_pylist()
    until = pa.array([erased.get(key_of(name), -np.inf) for name in names], pa.float64())
    gone = pc.less_equal(table.column("timestamp"), until.take(users.indices))
    return table.filter(pc.invert(pc.fill_null(gone, False)))


def _once(table: pa.Table) -> pa.Table:
    """The first row of every event id."""
    ids = table.column("event_id").combine_chunks().dictionary_encode().indices
    _, first = np.unique(np.asarray(ids), return_index=True)
    return table.take(pa.array(np.sort(first)))


def viewers_of(table: pa.Table, profiles: Mapping[str, Profile]) -> Iterator[tuple[str, Viewer]]:
    """Every viewer as `vireo.viewers.viewer.apply` would leave them after all events.

    They are computed together, because applying a million events one by one takes a minute. (One
    difference: after a dislike of a video in a full history, an older video is kept here that
    `apply` has already dropped.)

    Args:
        table: events in order of time, without repeated ids.
        profiles: of users, including those without events.
    """
    users = table.column("user_id").combine_chunks().dictionary_encode()
    names: list[str] = users.dictionary.to_pylist()
    user = users.indices.to_numpy().astype(np.int64)
    videos = table.column("video_id").combine_chunks().dictionary_encode()
    video = keys_of(videos.dictionary.to_pylist())[np.asarray(videos.indices, np.int64)]
    kind = np.array([TYPES.index(t) for t in table.column("type").to_pylist()], np.int64)
    seconds = np.nan_to_num(_floats(table, "watch_seconds"))
    marks, positive = _marks(table, kind)
    # A pair's first mark enters the watched set; a pair with any dislike enters no history.
    at = np.flatnonzero(marks)
    pairs = np.stack([user[at].astype(np.uint64), video[at]], 1)
    _, first, pair = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    disliked = np.zeros(len(first), bool)
    disliked[pair[~positive[at]]] = True
    liked_pair = np.zeros(len(user), bool)
    liked_pair[at] = ~disliked[pair]
    at = at[np.sort(first)]
    at = at[np.argsort(user[at], kind="stable")]
    bounds = np.searchsorted(user[at], np.arange(len(names) + 1))
    times = table.column("timestamp").to_numpy()
    counts = np.zeros((len(names), len(TYPES)), np.int64)
    np.add.at(counts, (user, kind), 1)
    watched = kind == TYPES.index("watch")
    total = np.bincount(user[watched], seconds[watched], len(names))
    row_of = {name: row for row, name in enumerate(names)}
    for name in sorted({*names, *profiles}):
        profile = profiles.get(name, Profile())
        if name not in row_of:
            yield name, Viewer(profile)
            continue
        row = row_of[name]
        mine = at[bounds[row] : bounds[row + 1]]
        liked = mine[liked_pair[mine]][-HISTORY_CAP:]
        yield (
            name,
            Viewer(
                profile,
                keys=video[liked],
                times=times[liked],
                watched=video[mine][-WATCHED_CAP:],
                seconds=float(total[row]),
                **_counters(counts[row]),
            ),
        )


def _marks(table: pa.Table, kind: Any) -> tuple[Any, Any]:
    """Masks of events that enter the watched set, and of the positive ones (`vireo.viewers`)."""
    seconds, fraction = _floats(table, "watch_seconds"), _floats(table, "watch_fraction")
    unknown = np.isnan(seconds) & np.isnan(fraction)
    long_enough = unknown | (seconds >= POSITIVE_SECONDS) | (fraction >= POSITIVE_FRACTION)
    positive = np.where(kind == TYPES.index("watch"), long_enough, False)
    for name in ("like", "comment", "share"):
        positive |= kind == TYPES.index(name)
    return positive | (kind == TYPES.index("dislike")), positive


def _counters(counts: Any) -> dict[str, int]:
    by_type: Mapping[str, int] = dict(zip(TYPES, counts.tolist(), strict=True))
    return {
        "watches": by_type["watch"],
        "impressions": by_type["impression"],
        "clicks": by_type["click"],
        "likes": by_type["like"] + by_type["comment"] + by_type["share"],
        "skips": by_type["skip"] + by_type["dislike"],
    }


def _floats(table: pa.Table, name: str) -> Any:
    return np.asarray(pc.fill_null(pc.cast(table.column(name), pa.float64()), np.nan))


def _put_viewers(
    events: pa.Table, profiles: Mapping[str, Profile], ports: Ports, progress: Progress
) -> None:
    stored = counted(progress, "viewers")
    total = len({*profiles, *pc.unique(events.column("user_id")).to_pylist()})
    batch: list[Put | Delete] = []
    for done, (name, viewer) in enumerate(viewers_of(events, profiles), 1):
        batch += rows.whole(name, viewer)
        # A viewer takes up to 88 KB and three writes; a transaction at most 4 MB and 100 writes.
        if len(batch) == 99 or done == total:
            ports.records.write(batch)
            batch = []
            stored(done, total)


def _put_events(table: pa.Table, blobs: Blobs, progress: Progress) -> None:
    """Write one file per day of the events' own timestamps."""
    stored = counted(progress, "events")
    days = (table.column("timestamp").to_numpy() // 86_400).astype(np.int64)
    bounds = np.r_[np.flatnonzero(np.r_[True, days[1:] != days[:-1]]), len(days)]
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        day = datetime.fromtimestamp(int(days[start]) * 86_400, UTC).date().isoformat()
        part = table.slice(start, stop - start)
        buffer = BytesIO()
        pq.write_table(part, buffer, compression="zstd")
        name = f"{key_of('|'.join(part.column('event_id').to_pylist())):016x}"
        blobs.write(f"{EVENTS}date={day}/{name}.parquet", buffer.getvalue())
        stored(stop, len(table))


def _conformed(data: bytes, name: str) -> pa.Table:
    """The columns of the schema, empty where absent; their values are checked by preprocessing."""
    try:
        table = pq.read_table(BytesIO(data))
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{name}: cannot be read: {error}") from error
    columns = [
        pc.cast(table.column(f.name), f.type, safe=False)
        if f.name in table.column_names
        else pa.nulls(len(table), f.type)
        for f in event_rows.SCHEMA
    ]
    found = pa.table(columns, schema=_COLUMNS)
    # Exposures record a viewer's variants (vireo.events.models), not an action.
    return found.filter(pc.fill_null(pc.not_equal(found.column("type"), "exposure"), True))
