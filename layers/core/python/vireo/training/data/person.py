"""A person's rows in the collected files, which nothing lists by person: every file is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vireo.jobs.progress import Progress, silent
from vireo.ports import Blobs, Missing
from vireo.training.data.window import EVENTS


@dataclass
class Found:
    """The files that were read, and those that could not be."""

    files: int = 0
    unreadable: list[str] = field(default_factory=list)


def collected(
    blobs: Blobs, user_id: str, found: Found, progress: Progress = silent
) -> Iterator[dict[str, Any]]:
    """Events and exposures of a person, each with the name of its file; ``found`` is filled in."""
    names = list(blobs.names(EVENTS))
    for done, name in enumerate(names):
        progress(done / len(names), f"reading {name}")
        try:
            table = pq.read_table(BytesIO(blobs.read(name)))
        except Missing:  # rewritten without anybody, or too old
            continue
        except pa.ArrowInvalid:
            found.unreadable.append(name)
            continue
        found.files += 1
        if "user_id" not in table.column_names:
            continue
        for row in table.filter(pc.equal(table.column("user_id"), user_id)).to_pylist():
            if row.get("experiments") is not None:
                row["experiments"] = dict(row["experiments"])
            yield {"file": name, **{key: value for key, value in row.items() if value is not None}}
