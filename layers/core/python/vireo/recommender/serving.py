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
from vireo.catalogue.updates import ChangesLost, Updates
from vireo.patience import Patience
from vireo.ports import Clock, Ports, Records, Unavailable
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
#: Seconds until a refused bundle is tried again: while nothing serves, and while another one does.
AGAIN, LATER = 5.0, 300.0
NOTHING = "no model has been published"


class NoModel(Exception):
    """There is nothing to serve: no bundle has been published, or none can be loaded."""


@dataclass(frozen=True)
class View:
    """A snapshot, with the controls of the same moment."""

    snapshot: Snapshot
    controls: Controls
    checked: float  #: monotonic seconds; it includes all earlier changes

    def age(self, clock: Clock) -> float:
        """Seconds since the view's poll, by the clock that says more.

        Monotonic time stands still in a snapshot of a process, and may in a machine that sleeps;
        the time of day may be set back.
        """
        return max(clock.monotonic() - self.checked, clock.now() - self.snapshot.at)

    def slept(self, clock: Clock) -> bool:
        """True if this process did not run for a while, and had no chance to poll."""
        awake = clock.monotonic() - self.checked
        return clock.now() - self.snapshot.at - awake > STALE


class _Track:
    """A loaded bundle, with the catalogue changes and the counts since."""

    def __init__(self, loaded: Loaded, records: Records) -> None:
        self.loaded = loaded
        bundle = loaded.bundle
        self.updates = Updates(records, bundle.changes, bundle.manifest.watermark)
        self.hot = HotRecord(records, bundle)
        self.lost = False  #: changes were missing at the last poll
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
        self._refused: dict[str, tuple[str, float]] = {}  #: by version: reason, monotonic seconds
        self._problem = NOTHING

    def view(self) -> tuple[View, list[str]]:
        """The view to serve, and the names of its parts that are out of date.

        Every `EVERY` seconds one request starts a poll, for which requests wait `BRIEFLY`. A new
        bundle is loaded in the background, and served once it is ready. After a restore from a
        snapshot, or a long sleep, requests wait for a poll as those of a new process do.

        Raises:
            NoModel: there is nothing to serve, or what has changed meanwhile cannot be read.
        """
        clock = self._ports.clock
        # A poll that was under way when the process fell asleep is as old as the view before it.
        for _ in range(2):
            view = self._view
            if view is not None and view.age(clock) < EVERY:
                return view, []
            slept = view is None or view.slept(clock)
            self._wait(self._begin(clock.monotonic()), None if slept else view)
            view = self._view
            if view is None:
                raise NoModel(self._problem)
            if not view.slept(clock):
                return view, ["overlay"] if view.age(clock) > STALE else []
        raise NoModel(f"the changes since this process slept are not known: {self._problem}")

    def _begin(self, now: float) -> Future[None]:
        with self._lock:
            if self._refreshing is None or self._refreshing.done():
                self._started = now
                self._refreshing = self._patience.start(self._refresh)
            return self._refreshing

    def _wait(self, refreshing: Future[None], view: View | None) -> None:
        clock, limit = self._ports.clock, None
        if view is not None:
            limit = BRIEFLY if view.age(clock) < STALE else AT_MOST
            limit = max(0.0, limit - (clock.monotonic() - self._started))
        try:
            self._patience.wait(refreshing, limit)
        except Unavailable:
            self._ports.meter.count("OverlayLate")

    def _refresh(self) -> None:
        try:
            if self._track is not None:
                self._go_on(self._track)
            self._follow()
        except Exception as error:
            log.exception("the bundle's pointer or overlay could not be read")
            self._problem = f"{type(error).__name__}: {error}"
            self._ports.meter.count("OverlayFailed")

    def _go_on(self, track: _Track) -> None:
        """Poll for the bundle that serves; let go of it if changes since are lost for good."""
        try:
            self._view = self._poll(track)
            track.lost = False
        except ChangesLost as lost:
            # A query is no snapshot: what is missing once may be there the next time.
            if not track.lost:
                track.lost = True
                raise
            self._refuse(track.loaded.bundle.version, lost)
            self._view = self._track = None

    def _follow(self) -> None:
        """Load the wanted bundle, if it is another one; then release the old one.

        While nothing serves, the bundle before it will do.
        """
        served = self._track.loaded.bundle.version if self._track else None
        wanted = self._wanted()
        for version in wanted if served is None else wanted[:1]:
            if version == served or not self._may_try(version):
                continue
            try:
                found = files.fetch(
                    self._ports.blobs, version, Path(self._ports.scratch), ModelBundle
                )
                track = _Track(Loaded(found), self._ports.records)
                view = self._poll(track)
            except Unavailable:
                raise
            except Exception as error:
                log.exception("bundle %s is refused; %s serves on", version, served)
                self._refuse(version, error)
                continue
            if version != wanted[0]:
                log.error("bundle %s serves instead of %s", version, wanted[0])
                self._ports.meter.count("BundleBefore")
            self._view, self._track = view, track
            self._refused.pop(version, None)
            keep = {version, served or version}  # the old one may be needed again
            files.tidy(Path(self._ports.scratch), keep)
            return
        if self._track is None:
            told = "; ".join(f"{v}: {self._refused[v][0]}" for v in wanted if v in self._refused)
            self._problem = f"no bundle can be loaded: {told}" if told else NOTHING

    def _wanted(self) -> list[str]:
        """The bundle that this process was published for; or else the pointer's, and that before.

        A process that is published for a bundle must not be released with another one.
        """
        if self._ports.serves is not None:
            return [self._ports.serves]
        pointer = pointers.current(self._ports.records)
        if pointer is None:
            return []
        return [v for v in (pointer.version, pointer.previous) if v is not None]

    def _refuse(self, version: str, error: Exception) -> None:
        # A bundle that cannot be loaded, for whatever reason, must not keep another from serving.
        reason = str(error) if isinstance(error, BundleRefused | ChangesLost) else repr(error)
        self._refused[version] = reason, self._ports.clock.monotonic()
        self._ports.meter.count("BundleRefused")

    def _may_try(self, version: str) -> bool:
        """True unless the bundle was refused lately; what is in pieces may be mended."""
        if version not in self._refused:
            return True
        after = AGAIN if self._track is None else LATER
        return self._ports.clock.monotonic() - self._refused[version][1] >= after

    def _poll(self, track: _Track) -> View:
        clock = self._ports.clock
        checked, now = clock.monotonic(), clock.now()
        unread = track.updates.refused
        track.updates.poll(now)
        self._ports.meter.count("ChangeRefused", track.updates.refused - unread)
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
