"""Upkeep of a tenant: measures ages."""

from __future__ import annotations

from vireo.ports import Ports, Table, walk


def tell_ages(ports: Ports) -> None:
    """Measure the time since training last reached a decision, accepted or not.

    Without any decision nothing is measured: the alarm on this metric treats silence as a fault.
    """
    at = [float(run.item["at"]) for run in walk(ports.records, Table.REGISTRY, "runs")]
    if at:
        ports.meter.observe("TrainingAge", ports.clock.now() - max(at), "Seconds")
