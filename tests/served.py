"""A tenant that is served: bundles deployed, what a process then shows, and stores that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.worlds import bundle, catalogue
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.ports import Ports, Unavailable
from vireo.recommender.serving import Serving
from vireo.vectors import has

VIDEOS = catalogue(40)


class Store:
    """Records behind a gate: they fail or hang when the test says so."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.before: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._records, name)

        def call(*args: Any, **options: Any) -> Any:
            self.before()
            return method(*args, **options)

        return call


def fail() -> None:
    raise Unavailable("down")


def deploy(ports: Ports, version: str, **more: Any) -> None:
    bundles.publish(bundle(VIDEOS, version=version, **more), ports.blobs)
    pointer.switch(ports.records, version, expect=pointer.current(ports.records))


def served(serving_: Serving) -> str:
    view, stale = serving_.view()
    assert not stale
    return view.snapshot.bundle.version


def shows(serving_: Serving, video_id: str) -> bool:
    snapshot = serving_.view()[0].snapshot
    row = snapshot.row(video_id)
    return row >= 0 and bool(has(snapshot.eligible(0, 17), np.array([row], np.int32))[0])
