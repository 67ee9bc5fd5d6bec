"""The state that a process serves: it follows the pointer, the overlay and the controls."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from vireo.bundles import files
from vireo.bundles import pointer as pointers
from vireo.bundles.manifest import BundleRefused
from vireo.catalogue.updates import Updates
from vireo.patience import Patience
from vireo.ports import Ports, Records, Unavailable
from vireo.recommender.contents import ModelBundle
from vireo.recommender.hot_record import HotRecord
from vireo.recommender.loaded import Loaded
from vireo.recommender.overlay import Overlay
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering import controls
from vireo.recommender.steering.controls import Controls

log = logging.getLogger(__name__)

#: Seconds between polls, and the age of a stale snapshot. After one failed poll there is time for
#: another before the snapshot is stale.
EVERY, STALE = 10.0, 30.0
#: Seconds that requests wait for a poll: while the snapshot is fresh, and when it is stale.
BRIEFLY, AT_MOST = 0.05, 1.0


class NoModel(Exception):
    """There is nothing to serve: no bundle has been published, or none is readable."""


@dataclass(frozen=True)
class View:
    """A snapshot, with the controls of the same moment."""

    snapshot: Snapshot
    controls: Controls
    checked: float  #: monotonic seconds; it includes all earlier changes


class _Track:
    """A loaded bundle, with the catalogue changes and the counts since."""

    def __init__(self, loaded: Loaded, records: Records) -> None:
        self.loaded = loaded
        self.updates = Updates(records, loaded.bundle.manifest.watermark)
        self.hot = HotRecord(records, loaded.bundle)
        self._overlay: Overlay | None = None
        self._seen = 0

    def overlay(self) -> Overlay:
        """The overlay, encoded anew only if there are new changes."""
        if self._overlay is None or self._seen < self.updates.news:
            self._seen = self.updates.news
            self._overlay = Overlay.of(
                self.loaded, self.updates.videos.values(), self.updates.texts
            )
        return self._overlay


class Serving:
    """The view of one tenant in this process. Thread-safe."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._patience = Patience(workers=2)
        self._lock = threading.Lock()
        self._refreshing: Future[None] | None = None
        self._started = 0.0
        self._view: View | None = None
        self._track: _Track | None = None
        self._refused: str | None = None

    def view(self) -> tuple[View, list[str]]:
        """The view to serve, and the names of its parts that are out of date.

        Every `EVERY` seconds one request starts a poll, for which requests wait `BRIEFLY`. A new
        bundle is loaded in the background, and served once it is ready.

        Raises:
            NoModel: there is nothing to serve yet.
        """
        view = self._view
        now = self._ports.clock.monotonic()
        if view is None or now - view.checked >= EVERY:
            self._wait(self._begin(now), view, now)
            view = self._view
        if view is None:
            raise NoModel("no model has been published")
        return view, ["overlay"] if now - view.checked > STALE else []

    def _begin(self, now: float) -> Future[None]:
        with self._lock:
            if self._refreshing is None or self._refreshing.done():
                self._started = now
                self._refreshing = self._patience.start(self._refresh)
            return self._refreshing

    def _wait(self, refreshing: Future[None], view: View | None, now: float) -> None:
        limit = None
        if view is not None:
            limit = BRIEFLY if now - view.checked < STALE else AT_MOST
            limit = max(0.0, limit - (now - self._started))
        try:
            self._patience.wait(refreshing, limit)
        except Unavailable:
            self._ports.meter.count("OverlayLate")

    def _refresh(self) -> None:
        try:
            if self._track is not None:
                self._view = self._poll(self._track)
            self._follow()
        except Exception:
            log.exception("the bundle's pointer or overlay could not be read")
            self._ports.meter.count("OverlayFailed")

    def _follow(self) -> None:
        """Load the wanted bundle, if it is another one; then release the old one."""
        wanted = self._wanted()
        served = self._track.loaded.bundle.version if self._track else None
        if wanted is None or wanted in (served, self._refused):
            return
        try:
            found = files.fetch(self._ports.blobs, wanted, Path(self._ports.scratch), ModelBundle)
        except BundleRefused:
            log.exception("bundle %s is refused; %s serves on", wanted, served)
            self._ports.meter.count("BundleRefused")
            self._refused = wanted
            return
        track = _Track(Loaded(found), self._ports.records)
        self._view = self._poll(track)
        self._track = track
        keep = {wanted, served or wanted}  # the old one may be needed again
        files.tidy(Path(self._ports.scratch), keep)

    def _wanted(self) -> str | None:
        """The bundle that this process was published for, or else the pointer's."""
        if self._ports.serves is not None:
            return self._ports.serves
        pointer = pointers.current(self._ports.records)
        return None if pointer is None else pointer.version

    def _poll(self, track: _Track) -> View:
        clock = self._ports.clock
        checked, now = clock.monotonic(), clock.now()
        track.updates.poll(now)
        switches = controls.read(self._ports.records)
        for name in switches.problems:
            log.warning("setting %s is not valid and was left out", name)
            self._ports.meter.count("SettingRefused")
        refused = track.hot.refused
        hot = track.hot.poll(now)
        self._ports.meter.count("CountersRefused", track.hot.refused - refused)
        snapshot = Snapshot(track.loaded, track.overlay(), now, hot)
        snapshot.prepare()
        age = now - track.loaded.bundle.manifest.watermark
        self._ports.meter.observe("BundleAge", age, "Seconds")
        return View(snapshot, switches, checked)
