"""Upkeep of a tenant: measures ages, and removes what has been kept long enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vireo.bundles.pointer import current
from vireo.ports import Ports, Table, walk

DAY = 86_400.0


@dataclass(frozen=True)
class Kept:
    """Terms for which things are kept, and how much is removed at once; the next day goes on."""

    #: Seconds since a file of events was written, by arrival or by an import.
    events: float = 365 * DAY
    #: Seconds since anything of a run, or of a bundle, was written.
    seconds: float = 30 * DAY
    #: Runs and bundles that are kept however old they are, the newest first; besides them those
    #: that serve, and the ones before.
    runs: int = 4
    bundles: int = 8
    #: Published versions of each function that are kept beside those that aliases name.
    versions: int = 2
    #: Blobs that are removed in one call.
    blobs: int = 5_000


KEPT = Kept()


def tell_ages(ports: Ports) -> None:
    """Measure the time since training last reached a decision, accepted or not.

    Without any decision nothing is measured: the alarm on this metric treats silence as a fault.
    """
    runs = walk(ports.records, Table.REGISTRY, "runs")
    at = [float(run.item["at"]) for run in runs if "at" in run.item]
    if at:
        ports.meter.observe("TrainingAge", ports.clock.now() - max(at), "Seconds")


def tidy(ports: Ports, kept: Kept = KEPT) -> None:
    """Remove old events, runs and bundles, and count them. May stop, or be stopped, anywhere.

    What serves and what is to go back to stay; so does all that was written lately, as it may be
    in the making.
    """
    now = ports.clock.now()
    room = kept.blobs
    room -= _remove(ports, "events", _events(ports, now - kept.events), room)
    room -= _remove(ports, "runs", _runs(ports, now - kept.seconds, kept.runs), room)
    _remove(ports, "bundles", _bundles(ports, now - kept.seconds, kept.bundles), room)


def forget_versions(ports: Ports, kept: Kept = KEPT) -> None:
    """Delete published versions of functions that no alias names, but for the latest."""
    ports.meter.count("Removed", ports.versions.forget(kept.versions), kind="versions")


def _remove(ports: Ports, kind: str, names: Iterable[str], room: int) -> int:
    """Delete blobs while there is room, and return how many. All that is done is counted."""
    done = 0
    try:
        for name in names:
            if done >= room:
                break
            ports.blobs.delete(name)
            done += 1
    finally:
        ports.meter.count("Removed", done, kind=kind)
    return done


def _events(ports: Ports, before: float) -> Iterator[str]:
    return (name for name, at in ports.blobs.written("events/") if at < before)


def _runs(ports: Ports, before: float, keep: int) -> Iterator[str]:
    """Blobs of old runs. Documents of steps go first: who resumes a run then begins it anew."""
    serving = _serving(ports)
    for run, names in _old(ports, "runs", before, keep).items():
        if run not in serving:
            yield from sorted(names, key=lambda name: (name.count("/"), name))


def _bundles(ports: Ports, before: float, keep: int) -> Iterator[str]:
    """Blobs of old bundles. First nobody may choose one any more, then it is not whole any more."""
    for version, names in _old(ports, "bundles", before, keep).items():
        if version in _serving(ports):
            continue
        ports.records.delete(Table.REGISTRY, "models", version)
        yield from sorted(names, key=lambda name: (not name.endswith("/manifest.json"), name))


def _serving(ports: Ports) -> set[str]:
    pointer = current(ports.records)
    return set() if pointer is None else {pointer.version, pointer.previous or pointer.version}


def _old(ports: Ports, folder: str, before: float, keep: int) -> Mapping[str, list[str]]:
    """Blobs by the name of what they belong to, the oldest first: all but the newest ``keep``."""
    names: dict[str, list[str]] = {}
    latest: dict[str, float] = {}
    for name, at in ports.blobs.written(f"{folder}/"):
        owner = name.split("/")[1]
        names.setdefault(owner, []).append(name)
        latest[owner] = max(at, latest.get(owner, at))
    by_age = sorted(latest, key=lambda owner: (latest[owner], owner))
    candidates = by_age[: max(len(by_age) - keep, 0)]
    return {owner: names[owner] for owner in candidates if latest[owner] < before}
