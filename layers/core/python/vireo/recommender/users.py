"""Viewers' records: read by every request, changed by their profile, erased everywhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from vireo.letters import DeadLetters
from vireo.ports import Conflict, Ports, Table
from vireo.recommender.models import User
from vireo.recommender.steering.campaigns import cap_key
from vireo.recommender.steering.controls import rows as settings
from vireo.viewers import erasure, rows
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import Viewer

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

    def read(self, user_id: str) -> Viewer | None:
        """The viewer, None if there is none. Raises ValueError for a record of another version."""
        return rows.read(self._records, user_id)

    def get(self, user_id: str) -> User:
        """The user as the API shows them. Raises `UnknownUser`."""
        viewer = self.read(user_id)
        if viewer is None:
            raise UnknownUser(user_id)
        return _user(user_id, viewer)

    def put_profile(self, user_id: str, profile: Profile) -> User:
        """Set the profile; the viewer's activity is kept.

        Raises:
            Conflict: others kept writing the same row.
        """
        for attempt in range(_ATTEMPTS):
            past = self._records.get(Table.VIEWERS, user_id, rows.PAST)
            viewer = replace(rows.viewer_of(past), profile=profile)
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

    def erase(self, user_id: str) -> None:
        """Erase a person: stored data at once, collected events by a later job.

        The record is deleted first, together with a note (`vireo.viewers.erasure`) by which
        consumers and training ignore earlier events. Then the counts in the cache and dead letters
        are deleted. The rows in collected files are removed by the next run of
        `vireo.training.data.purge`. Erasing twice, or an unknown person, is no error: there may be
        events without a record.
        """
        self._records.write([*rows.gone(user_id), erasure.note(user_id, self._clock.now())])
        for campaign_id, _ in settings(self._records, "campaigns"):
            self._cache.delete(cap_key(campaign_id, user_id))
        self._letters.forget(user_id)


def _user(user_id: str, viewer: Viewer) -> User:
    last = datetime.fromtimestamp(viewer.times[-1], UTC) if len(viewer.times) else None
    return User(
        user_id=user_id,
        profile=viewer.profile,
        watched=len(viewer.watched),
        likes=viewer.likes,
        last_active=last,
    )
