"""The recommender's service behind its routes: recommendations, similar and trending videos."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import orjson

from vireo.catalogue.store import Catalogue, UnknownVideo
from vireo.keys import key_of, keys_of
from vireo.patience import Patience
from vireo.ports import Ports, Unavailable
from vireo.recommender import export, listings
from vireo.recommender.candidates import Candidates
from vireo.recommender.filtering import Filtering
from vireo.recommender.loaded import PUBLIC
from vireo.recommender.models import (
    Context,
    Export,
    Item,
    Listing,
    Recommendations,
    RecommendRequest,
    SessionWatch,
    StageReport,
)
from vireo.recommender.ordering import Ordering
from vireo.recommender.pipeline import Outcome, run
from vireo.recommender.ranking import Ranking
from vireo.recommender.reasons import reasons
from vireo.recommender.request import Request
from vireo.recommender.serving import NoModel, Serving, View
from vireo.recommender.slate import SLOTS, Slate
from vireo.recommender.steering.campaigns import Budgets, Campaign
from vireo.recommender.users import Viewers
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import Event, EventType, Viewer, merge_session

log = logging.getLogger(__name__)

#: Seconds that a request waits for the viewer's record before it continues without it.
VIEWER_SECONDS = 0.05
#: Seconds that a request waits for a campaign's budget.
BUDGET_SECONDS = 0.05


class Recommender:
    """The recommender of one tenant in one process. Thread-safe."""

    def __init__(self, ports: Ports, *, viewer_seconds: float = VIEWER_SECONDS) -> None:
        self.catalogue = Catalogue(ports)
        self.viewers = Viewers(ports)
        self._ports = ports
        self._viewer_seconds = viewer_seconds
        self._serving = Serving(ports)
        self._patience = Patience()
        self._budgets = Budgets(ports.records, ports.cache)

    def recommend(self, body: RecommendRequest, request_id: str) -> Recommendations:
        """Rank videos for one viewer. If a part fails, the answer is degraded and says so.

        Raises:
            NoModel: no bundle has been published yet.
        """
        clock, meter = self._ports.clock, self._ports.meter
        began, now = clock.monotonic(), clock.now()
        reading = self._begin_reading(body.user_id)
        view, degraded = self._serving.view()
        stored = self._viewer(reading, degraded)
        viewer = merge_session(stored, _events(body.session, now))
        tuning, variants = view.controls.tuning_for(body.user_id)
        request = Request.of(
            view.snapshot,
            viewer,
            now,
            limit=body.limit,
            country=body.context.country,
            language=body.context.language,
            device=body.context.device,
            exclude=keys_of(body.exclude),
            tuning=tuning,
            user_id=body.user_id,
            user=view.snapshot.user(body.user_id, stored),
        )
        ordering = self._ordering(view, degraded)
        outcome = run([Candidates(), Filtering(), Ranking(), ordering], request, clock, meter)
        answer = Recommendations(
            request_id=request_id,
            user_id=body.user_id,
            model_version=view.snapshot.bundle.version,
            items=_items(request, outcome.slate, reasons(request, outcome.slate)),
            experiments=variants,
            degraded=(*degraded, *outcome.degraded),
            stages=_reports(outcome) if body.debug else None,
        )
        self._expose(answer, now)
        meter.observe("RequestLatency", 1e3 * (clock.monotonic() - began), "Milliseconds")
        return answer

    def similar(
        self, video_id: str, limit: int, context: Context, age: int | None, request_id: str
    ) -> Listing:
        """Videos similar to one. Raises `UnknownVideo` and `NoModel`."""
        view, degraded = self._serving.view()
        row = view.snapshot.row(video_id)
        if row < 0 or view.snapshot.take(np.array([row], np.int32), "status")[0][0] != PUBLIC:
            raise UnknownVideo(video_id)
        request = self._anonymous(view, limit, context, age)
        slate = listings.similar(request, row)
        (title,) = view.snapshot.take(np.array([row], np.int32), "titles")
        items = _items(request, slate, [f"Similar to {title[0].decode()}"] * len(slate))
        return _listing(view, items, degraded, request_id)

    def trending(
        self,
        limit: int,
        context: Context,
        age: int | None,
        category: str | None,
        request_id: str,
    ) -> Listing:
        """Videos that many watch now, optionally of one category. Raises `NoModel`."""
        view, degraded = self._serving.view()
        request = self._anonymous(view, limit, context, age)
        slate = listings.trending(request, category)
        items = _items(request, slate, reasons(request, slate))
        return _listing(view, items, degraded, request_id)

    def export(self, user_id: str, start: int) -> Export:
        """Everything that is kept of a person. Raises `vireo.recommender.export.UnknownPerson`."""
        try:
            names = export.names_in(self._serving.view()[0].snapshot)
        except NoModel:
            names = None
        return export.export(self._ports, user_id, names, start)

    def load(self) -> None:
        """Load the model before the first request. Raises `NoModel`."""
        self._serving.view()

    def _begin_reading(self, user_id: str) -> Future[Viewer | None] | None:
        try:
            return self._patience.start(lambda: self.viewers.read(user_id))
        except Unavailable:
            return None

    def _viewer(self, reading: Future[Viewer | None] | None, degraded: list[str]) -> Viewer:
        """The stored viewer; an empty one if the store fails or is late."""
        try:
            if reading is None:
                raise Unavailable("too many reads have not come back")
            return self._patience.wait(reading, self._viewer_seconds) or Viewer()
        except Exception:
            log.warning("served without the viewer's record", exc_info=True)
            self._degrade(degraded, "viewer")
            return Viewer()

    def _degrade(self, degraded: list[str], what: str) -> None:
        self._ports.meter.count("Degraded", part=what)
        if what not in degraded:
            degraded.append(what)

    def _ordering(self, view: View, degraded: list[str]) -> Ordering:
        def reserve(campaign: Campaign, request: Request) -> bool:
            try:
                return self._patience.call(
                    lambda: self._budgets.reserve(campaign, request), BUDGET_SECONDS
                )
            except Exception:
                log.warning("nothing promoted: the budget is unknown", exc_info=True)
                self._degrade(degraded, "campaigns")
                return False

        return Ordering(view.controls.campaigns, reserve)

    def _anonymous(self, view: View, limit: int, context: Context, age: int | None) -> Request:
        viewer = Viewer(Profile(age=age))
        return Request.of(
            view.snapshot,
            viewer,
            self._ports.clock.now(),
            limit=limit,
            country=context.country,
            language=context.language,
            device=context.device,
            tuning=view.controls.tuning,
        )

    def _expose(self, answer: Recommendations, now: float) -> None:
        """Publish the request's variants to the stream, in a thread; a failure costs no answer."""
        if not answer.experiments:
            return
        record = {
            "event_id": f"{answer.request_id}/exposure",
            "type": "exposure",
            "user_id": answer.user_id,
            "timestamp": now,
            "request_id": answer.request_id,
            "model_version": answer.model_version,
            "experiments": answer.experiments,
        }
        try:
            self._patience.start(lambda: self._publish(answer.user_id, orjson.dumps(record)))
        except Unavailable:
            self._ports.meter.count("ExposureLost")

    def _publish(self, key: str, payload: bytes) -> None:
        try:
            refused = self._ports.stream.publish([(key, payload)])[0]
        except Exception:
            log.warning("an exposure was lost", exc_info=True)
            refused = "failed"
        if refused is not None:
            self._ports.meter.count("ExposureLost")


def _reports(outcome: Outcome) -> tuple[StageReport, ...]:
    return tuple(
        StageReport(
            stage=lap.stage, milliseconds=lap.milliseconds, kept=lap.kept, removed=lap.removed
        )
        for lap in outcome.laps
    )


def _events(session: Sequence[SessionWatch], now: float) -> list[Event]:
    """Watches of the session, oldest first; those without a time ended just now, in order."""
    n = len(session)
    return [
        Event(
            EventType.WATCH,
            key_of(watch.video_id),
            now - 1e-3 * (n - j) if watch.at is None else min(now, watch.at.timestamp()),
            math.nan if watch.seconds is None else watch.seconds,
            math.nan if watch.fraction is None else watch.fraction,
        )
        for j, watch in enumerate(session)
    ]


def _items(request: Request, slate: Slate, why: Sequence[str]) -> tuple[Item, ...]:
    ids, titles = request.snapshot.take(slate.rows, "ids", "titles")
    slots = np.zeros(len(slate), np.uint8) if slate.slots is None else slate.slots
    return tuple(
        Item(
            video_id=video_id.decode(),
            title=title.decode(),
            score=None if math.isnan(score) else score,
            slot=SLOTS[slot],
            reason=reason,
            campaign_id=slate.campaigns.get(row),
        )
        for row, video_id, title, score, slot, reason in zip(
            slate.rows.tolist(),
            ids.tolist(),
            titles.tolist(),
            slate.score.tolist(),
            slots.tolist(),
            why,
            strict=True,
        )
    )


def _listing(
    view: View, items: tuple[Item, ...], degraded: Sequence[str], request_id: str
) -> Listing:
    return Listing(
        request_id=request_id,
        model_version=view.snapshot.bundle.version,
        items=items,
        degraded=tuple(degraded),
    )
