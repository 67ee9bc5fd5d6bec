"""Prepared data: the result of preprocessing, and its storage for later steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson

from vireo.catalogue.columns import Columns, Vocabulary
from vireo.ports import Blobs
from vireo.training.data.activity import Activity
from vireo.training.data.log import EVENTS, Log, People


@dataclass(frozen=True)
class Report:
    """The counts of preprocessing: events read, kept and dropped."""

    read: int
    kept: int
    positives: int
    dropped: Mapping[str, int]  #: reason to events
    types: Mapping[str, int]  #: of the events kept
    users: int
    videos: int
    first: float  #: unix seconds of the first and last positive, NaN without any
    last: float
    #: Of collected events, what was read (`vireo.training.data.window.Window`): the first day, and
    #: days with events from that on; days before it; so many viewers of which one was read.
    since: str = ""
    days: int = 0
    days_left: int = 0
    one_in: int = 1


@dataclass(frozen=True)
class Prepared:
    """The log of interactions, all activity (for counters), and the report."""

    log: Log
    activity: Activity
    report: Report


# Propensity weights are made of the activity, for what is fitted on a part of the log.
_LOG = (*(name for name in EVENTS if name != "propensity_weight"), "text")
_ACTIVITY = tuple(f.name for f in fields(Activity) if f.name != "n_videos")
#: Files of prepared data.
FILES = ("arrays.npz", "prepared.json")


def save(prepared: Prepared, folder: Path) -> None:
    """Write `FILES`, the description last; equal data give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    log = prepared.log
    arrays: dict[str, Any] = {
        **{f"log/{n}": getattr(log, n) for n in _LOG},
        **{f"people/{f.name}": getattr(log.people, f.name) for f in fields(People)},
        **{f"videos/{name}": array for name, array in log.videos.arrays().items()},
        **{f"activity/{n}": getattr(prepared.activity, n) for n in _ACTIVITY},
    }
    # numpy dates a zip's members 1980, so the bytes depend on the arrays alone.
    np.savez(folder / FILES[0], allow_pickle=False, **arrays)
    described = {"vocabulary": log.vocabulary.as_dict(), "report": asdict(prepared.report)}
    (folder / FILES[1]).write_bytes(orjson.dumps(described, option=orjson.OPT_INDENT_2))


def load(folder: Path) -> Prepared:
    """The inverse of `save`."""
    described = orjson.loads((folder / FILES[1]).read_bytes())
    with np.load(folder / FILES[0], allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}

    def part(prefix: str) -> dict[str, Any]:
        return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}

    videos = Columns(**part("videos/"))
    vocabulary = Vocabulary.from_dict(described["vocabulary"])
    people = People(**part("people/"))
    log = Log(people=people, videos=videos, vocabulary=vocabulary, **part("log/"))
    report = described["report"]
    # JSON has no NaN, which an empty log has as its first and last moment.
    moments = {n: float("nan") if report[n] is None else report[n] for n in ("first", "last")}
    activity = Activity(n_videos=len(videos), **part("activity/"))
    return Prepared(log, activity, Report(**{**report, **moments}))


def save_prepared(blobs: Blobs, prefix: str, prepared: Prepared) -> None:
    """Write prepared data to blobs, the description last."""
    with TemporaryDirectory() as scratch:
        save(prepared, Path(scratch))
        for name in FILES:
            blobs.upload(str(Path(scratch) / name), f"{prefix}/{name}")


def load_prepared(blobs: Blobs, prefix: str) -> Prepared:
    """The data that `save_prepared` wrote. Raises `vireo.ports.Missing`."""
    with TemporaryDirectory() as scratch:
        for name in FILES:
            blobs.download(f"{prefix}/{name}", str(Path(scratch) / name))
        return load(Path(scratch))
