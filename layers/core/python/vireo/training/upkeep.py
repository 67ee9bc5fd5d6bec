"""Looks after what a tenant leaves behind: how old things are."""

from __future__ import annotations

from vireo.ports import Ports, Table, walk


def tell_ages(ports: Ports) -> None:
    """Measure how long ago a training ran to a verdict, whether or not its model was accepted.

    Nothing is measured where there never was one: an alarm on this metric takes silence for a
    fault, and that is one.
    """
    at = [float(run.item["at"]) for run in walk(ports.records, Table.REGISTRY, "runs")]
    if at:
        ports.meter.observe("TrainingAge", ports.clock.now() - max(at), "Seconds")
