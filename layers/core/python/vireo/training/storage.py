"""Prepared data as files, for the steps that come after."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from vireo.catalogue.columns import Columns, Vocabulary
from vireo.training.activity import Activity
from vireo.training.log import Log, People
from vireo.training.preprocess import Prepared, Report

_LOG = ("user", "video", "time", "device", "weight", "place", "text")
_ACTIVITY = tuple(f.name for f in fields(Activity) if f.name != "n_videos")
#: What a folder of prepared data holds.
FILES = ("arrays.npz", "prepared.json")


def save(prepared: Prepared, folder: Path) -> None:
    """Write `FILES`; equal data give equal bytes. The description comes last."""
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
    # JSON has no NaN: an empty log has no first and last moment.
    moments = {n: float("nan") if report[n] is None else report[n] for n in ("first", "last")}
    activity = Activity(n_videos=len(videos), **part("activity/"))
    return Prepared(log, activity, Report(**{**report, **moments}))
