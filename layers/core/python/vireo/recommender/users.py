"""Viewers' records: read by every request, changed by their profile, erased everywhere."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime

from vireo.letters import DeadLetters
from vireo.ports import Conflict, Ports, Table
from vireo.recommender.models import Erased, User
from vireo.recommender.steering.campaigns import cap_key
from vireo.recommender.steering.controls import rows as settings
from vireo.viewers import erasure, rows
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import Viewer

log = logging.getLogger(__name__)

#: Attempts to write a profile while the event stream writes the same row.
_ATTEMPTS = 5


class UnknownUser(LookupError):
    """There is no user with that id."""


class Viewers:
    """The viewers of one tenant, stored as in `vireo.viewers.rows`."""

    def __init__(self, ports: Ports) -> None:
        self._records = ports.records
        self._letters = DeadLetters(ports.blobs)
        self._cache = ports.cache
        self._clock = ports.clock
        self._meter = ports.meter

    def read(self, user_id: str) -> Viewer | None:
        """The viewer, None if there is none. Raises ValueError for a record of another version."""
        return rows.read(self._records, user_id)

    def get(self, user_id: str) -> User:
        """The user as the API shows them. Raises `UnknownUser`, also if a row cannot be read."""
        try:
            viewer = self.read(user_id)
        except ValueError as error:
            raise self._unreadable(user_id) from error
        if viewer is None:
            raise UnknownUser(user_id)
        return _user(user_id, viewer)

    def put_profile(self, user_id: str, profile: Profile) -> User:
        """Set the profile; the viewer's activity is kept.

        Raises:
            UnknownUser: what is stored cannot be read, so it is not overwritten.
            Conflict: others kept writing the same row.
        """
        for attempt in range(_ATTEMPTS):
            past = self._records.get(Table.VIEWERS, user_id, rows.PAST)
            try:
                viewer = replace(rows.viewer_of(past), profile=profile)
            except ValueError as error:
                raise self._unreadable(user_id) from error
            # Other fields of the row, written by the stream's consumer, are kept.
            item = {**({} if past is None else past.item), "viewer": viewer.pack()}
            expect = 0 if past is None else past.version
            try:
                self._records.put(Table.VIEWERS, user_id, rows.PAST, item, expect=expect)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return self.get(user_id)
        raise AssertionError("unreachable")

    def erase(self, user_id: str) -> Erased:
        """Forget a person: all that is kept of them now, their collected events by a job.

        The record goes first, with the note (`vireo.viewers.erasure`) by which consumers and
        training drop what they did before that moment; then what the cache counted, and dead
        letters. The rows in collected files go when `vireo.training.data.purge` next runs. Erasing
        again, or someone unknown, is no error: their events may exist without a record. The answer
        tells how much there was, so that whoever erases the wrong id can see it.
        """
        record, events = self._known(user_id)
        self._records.write([*rows.gone(user_id), erasure.note(user_id, self._clock.now())])
        campaigns = 0
        for campaign_id, _ in settings(self._records, "campaigns"):
            key = cap_key(campaign_id, user_id)
            campaigns += self._cache.get(key) is not None
            self._cache.delete(key)
        letters = self._letters.forget(user_id)
        return Erased(record=record, events=events, dead_letters=letters, campaigns=campaigns)

    def _unreadable(self, user_id: str) -> UnknownUser:
        log.exception("a row of a viewer cannot be read")
        self._meter.count("ViewerRefused")
        return UnknownUser(f"{user_id}: what is stored cannot be read; it can be erased")

    def _known(self, user_id: str) -> tuple[bool, int | None]:
        """The presence of a record and its number of events; None for one that cannot be read."""
        try:
            viewer = self.read(user_id)
        except ValueError:  # of another version: to be erased all the same
            return True, None
        return viewer is not None, 0 if viewer is None else viewer.events


def _user(user_id: str, viewer: Viewer) -> User:
    last = datetime.fromtimestamp(viewer.times[-1], UTC) if len(viewer.times) else None
    return User(
        user_id=user_id,
        profile=viewer.profile,
        watched=len(viewer.watched),
        likes=viewer.likes,
        last_active=last,
    )
