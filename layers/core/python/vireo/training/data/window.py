"""The part of the collected events that training reads, so that it fits whatever was collected.

Days are read from the latest on. When there are too many events for all viewers, and few days yet,
half of the viewers are left out, and again half of those; when there are days enough, older ones
are. Viewers are chosen by the hash of their id, so that their histories stay whole, the choice is
the same in every run, and one by half as many is a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa

from vireo.jobs.progress import Progress, silent
from vireo.keys import keys_of
from vireo.ports import Blobs

#: Prefix of collected events, as Firehose names them: ``events/date=YYYY-MM-DD/<name>.parquet``.
EVENTS = "events/"


@dataclass(frozen=True)
class Limits:
    """Limits of what is read, and how many days are worth leaving viewers out for."""

    events: int = 3_000_000
    days: int = 28
    bytes: int = 20_000_000_000  #: of files, of which Lambda gets 20 GB in five minutes


@dataclass(frozen=True)
class Window:
    """The days and viewers that were read."""

    since: str  #: the first day, YYYY-MM-DD
    days: int  #: days with events, from that on
    days_left: int  #: days before it that were not read
    one_in: int  #: so many viewers of which one was read


def read(
    blobs: Blobs,
    limits: Limits,
    table_of: Callable[[bytes, str], pa.Table],
    progress: Progress = silent,
) -> tuple[pa.Table, Window]:
    """The events that fit, and what they are of; ``table_of`` makes rows of a file and its name.

    At least the latest day is read, of one viewer in a million if need be. Raises LookupError if
    nothing was collected.
    """
    names = sorted((n for n in blobs.names(EVENTS) if n.endswith(".parquet")), reverse=True)
    days = [(day, list(files)) for day, files in groupby(names, _day)]
    if not days:
        raise LookupError(f"no collected events under {EVENTS}")
    taken: list[pa.Table] = []
    size, one_in, done = 0, 1, 0
    for day, files in days:
        part: list[pa.Table] = []
        for file in files:
            progress(done / len(days), f"reading {day}")
            data = blobs.read(file)
            size += len(data)
            part.append(of_viewers(table_of(data, file), one_in))
            while _rows(taken) + _rows(part) > limits.events and done < limits.days:
                one_in *= 2
                taken, part = ([of_viewers(t, one_in) for t in ts] for ts in (taken, part))
                if one_in > 1 << 20:
                    break
        if done and (size > limits.bytes or _rows(taken) + _rows(part) > limits.events):
            break
        taken += part
        done += 1
    since = days[done - 1][0]
    return pa.concat_tables(taken), Window(since, done, len(days) - done, one_in)


def of_viewers(table: pa.Table, one_in: int) -> pa.Table:
    """The rows of one in so many viewers, a power of two; rows of nobody only if all are read."""
    if one_in == 1 or not len(table):
        return table
    users = table.column("user_id").combine_chunks().dictionary_encode(null_encoding="encode")
    names = users.dictionary.to_pylist()
    keys = keys_of(name or "" for name in names)
    chosen = keys <= np.uint64((1 << 64) // one_in - 1)
    chosen &= np.array([name is not None for name in names])
    return table.filter(pa.array(chosen[np.asarray(users.indices, np.int64)]))


def _rows(tables: list[pa.Table]) -> int:
    return sum(map(len, tables))


def _day(name: str) -> str:
    return name.removeprefix(f"{EVENTS}date=")[:10]
