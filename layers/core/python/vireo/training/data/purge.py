"""Removal of erased people's events from the collected files, with a log of every run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from vireo.ports import Blobs, Missing, Ports, Records, Table
from vireo.training.data import collected
from vireo.training.data.window import EVENTS
from vireo.viewers.erasure import erased


@dataclass(frozen=True)
class Purge:
    """The result of one run of the job."""

    people: int  #: with a note of erasure
    files: int  #: rewritten, or deleted because they became empty
    rows: int  #: removed
    prepared: int  #: training runs whose intermediate data were deleted


def purge(ports: Ports) -> Purge:
    """Rewrite every file that has events of erased people, and log it (REGISTRY, ``purges``).

    Idempotent, so a job that crashed can be repeated. An unreadable file is left as it is:
    preprocessing reports it.
    """
    notes = erased(ports.records)
    if not notes:
        return Purge(0, 0, 0, 0)
    files = rows = 0
    for name in list(ports.blobs.names(EVENTS)):
        gone = _rewrite(ports.blobs, name, notes)
        files, rows = files + bool(gone), rows + gone
    done = Purge(len(notes), files, rows, _forget_prepared(ports.blobs))
    _log(ports.records, ports.clock.now(), done)
    return done


def _rewrite(blobs: Blobs, name: str, notes: dict[int, float]) -> int:
    """Remove erased people's rows from a file, and return their number."""
    try:
        table = pq.read_table(BytesIO(blobs.read(name)))
    except pa.ArrowInvalid:
        return 0
    if not {"user_id", "timestamp"} <= set(table.column_names):
        return 0
    kept = collected.without(table, notes)
    if len(kept) == len(table):
        return 0
    if len(kept):
        buffer = BytesIO()
        pq.write_table(kept, buffer, compression="zstd")
        blobs.write(name, buffer.getvalue())
    else:
        blobs.delete(name)
    return len(table) - len(kept)


def _forget_prepared(blobs: Blobs) -> int:
    """Delete the prepared data of finished training runs, and return the number of runs."""
    runs = {name.split("/")[1] for name in blobs.names("runs/") if "/prepared/" in name}
    finished = [run for run in sorted(runs) if _is_finished(blobs, run)]
    for run in finished:
        for name in list(blobs.names(f"runs/{run}/prepared/")):
            blobs.delete(name)
    return len(finished)


def _is_finished(blobs: Blobs, run: str) -> bool:
    names = {name.split("/")[-1] for name in blobs.names(f"runs/{run}/")}
    if names & {"deploy.json", "failure.json"}:
        return True
    try:
        decision = orjson.loads(blobs.read(f"runs/{run}/evaluate.json")).get("decision")
    except Missing:
        return False
    return decision is not None and not decision["deploy"]


def _log(records: Records, now: float, done: Purge) -> None:
    records.put(Table.REGISTRY, "purges", f"{int(now * 1000):013d}", {"at": now, **asdict(done)})


def history(records: Records) -> Iterator[dict[str, float]]:
    """The log of all purges, oldest first."""
    for record in records.query(Table.REGISTRY, "purges").records:
        yield dict(record.item)
