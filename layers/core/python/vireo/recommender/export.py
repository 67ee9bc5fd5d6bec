"""A person's data: all that `vireo.recommender.users.Viewers.erase` would remove, as an answer."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import takewhile

import numpy as np
import orjson
from pydantic import BaseModel

from vireo.catalogue.counters import BUCKET
from vireo.keys import Keys
from vireo.letters import DeadLetters
from vireo.ports import Missing, Ports
from vireo.recommender.models import (
    Export,
    KeptCounts,
    KeptEvent,
    KeptLetter,
    KeptUnreadable,
    KeptVideo,
    KeptView,
    KeptViewer,
    KeptWatch,
)
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering import controls
from vireo.recommender.steering.campaigns import cap_key
from vireo.viewers import erasure, kept
from vireo.viewers.viewer import Event, Viewer

#: Bytes of the lists that go on from answer to answer, as they are within Lambda's own JSON: with
#: everything else they stay below its limit of 6 MB.
PAGE_BYTES = 3_500_000
#: Dead letters in an answer, each of which is a file to be read.
PAGE_LETTERS = 100
#: Events of a person that cannot be found by their id within the time that a request has.
WITHOUT = (
    "events and exposures in collected files, which scripts/person.py exports",
    "events of the last seven days on the stream, which become such files",
)
NO_IDS = "ids of videos, because no model serves that knows them"

#: Ids by key: of each key its video's id, or None.
Names = Callable[[Keys], Sequence[str | None]]


class UnknownPerson(LookupError):
    """Nothing is kept of a person of that id."""


def names_in(snapshot: Snapshot) -> Names:
    """Ids of the videos that a snapshot knows, which are all of the catalogue."""

    def names(keys: Keys) -> list[str | None]:
        rows = snapshot.rows(keys)
        found: list[str | None] = [None] * len(keys)
        known = np.flatnonzero(rows >= 0)
        (ids,) = snapshot.take(rows[known], "ids")
        for at, name in zip(known.tolist(), ids.tolist(), strict=True):
            found[at] = name.decode()
        return found

    return names


def export(ports: Ports, user_id: str, names: Names | None = None, start: int = 0) -> Export:
    """Everything that is kept of a person under their id.

    Args:
        ports: of the tenant.
        user_id: the person.
        names: ids of videos; None where nobody knows them.
        start: how many of the watched videos and dead letters earlier answers had.

    Raises:
        UnknownPerson: there is nothing.
    """
    now = ports.clock.now()
    stored = kept.read(ports.records, user_id, int(now // BUCKET))
    erased_at = erasure.erased_at(ports.records, user_id)
    letters = DeadLetters(ports.blobs)
    aside = letters.names(user_id)
    campaigns, unreadable = _campaigns(ports, user_id)
    if not (stored.rows or erased_at is not None or aside or campaigns or unreadable):
        raise UnknownPerson(user_id)
    if erased_at is not None and _moment(erased_at) is None:
        unreadable.append(_damaged("registry/erased", "the note of the erasure cannot be read"))
    room = _Room()
    whole = viewer(user_id, stored, names)
    watched = [*takewhile(room.has, whole.watched[start:])]
    first = max(0, start - len(whole.watched))
    dead: list[KeptLetter] = []
    done = start + len(watched)
    if done >= len(whole.watched):
        for name in aside[first : first + PAGE_LETTERS]:
            letter = _letter(letters, name)
            if isinstance(letter, KeptUnreadable):
                unreadable.append(letter)
            elif letter is not None:
                if not room.has(letter):
                    break
                dead.append(letter)
            done += 1
    mine = {name: getattr(whole, name) for name in KeptViewer.model_fields}
    mine |= {"watched": tuple(watched), "unreadable": (*whole.unreadable, *unreadable)}
    return Export(
        **mine,
        exported_at=datetime.fromtimestamp(now, UTC),
        erased_at=_moment(erased_at),
        campaigns=campaigns,
        experiments=controls.read(ports.records).tuning_for(user_id)[1],
        dead_letters=tuple(dead),
        next=done if done < len(whole.watched) + len(aside) else None,
        without=WITHOUT if names else (*WITHOUT, NO_IDS),
    )


def viewer(user_id: str, stored: kept.Kept, names: Names | None = None) -> KeptViewer:
    """The content of a viewer's rows, in the form of the API; ``names`` as for `export`."""
    who = stored.viewer or Viewer()
    videos = _Videos(names, who, stored.events)
    times = who.times.tolist()
    return KeptViewer(
        user_id=user_id,
        rows=stored.rows,
        profile=None if stored.viewer is None else who.profile,
        counts=None if stored.viewer is None else _counts(who),
        history=tuple(
            KeptWatch(**video.model_dump(), at=_moment(at))
            for video, at in zip(videos.kept(who.keys), times, strict=True)
        ),
        events=tuple(videos.event(event) for event in stored.events),
        views=tuple(videos.view(*view) for view in stored.views),
        event_keys=tuple(f"{key:016x}" for key in stored.identities),
        position=stored.position,
        watched=tuple(videos.kept(who.watched)),
        unreadable=tuple(
            _damaged(f"viewers/{sort}", why) for sort, why in stored.unreadable.items()
        ),
    )


class _Videos:
    """The ids of the videos that a viewer's rows name, looked up at once."""

    def __init__(self, names: Names | None, viewer: Viewer, events: Iterable[Event]) -> None:
        keys = {*viewer.keys.tolist(), *viewer.watched.tolist(), *(e.video for e in events)}
        ordered = sorted(keys)
        found = names(_keys(ordered)) if names and ordered else [None] * len(ordered)
        self._ids = dict(zip(ordered, found, strict=True))
        # A view's video was watched, and so is one of these.
        self._ends = {key % 2**32: name for key, name in self._ids.items()}

    def kept(self, keys: Keys) -> list[KeptVideo]:
        return [KeptVideo(**self._told(key)) for key in keys.tolist()]

    def event(self, event: Event) -> KeptEvent:
        return KeptEvent(
            **self._told(event.video),
            at=_moment(event.time),
            type=event.type,
            seconds=None if math.isnan(event.seconds) else event.seconds,
            fraction=None if math.isnan(event.fraction) else event.fraction,
        )

    def view(self, video: int, event: int, period: int) -> KeptView:
        return KeptView(
            video_id=self._ends.get(video),
            key_end=f"{video:08x}",
            place_end=f"{event:08x}",
            since=_moment(period * BUCKET),
        )

    def _told(self, key: int) -> dict[str, str | None]:
        return {"video_id": self._ids.get(key), "key": f"{key:016x}"}


class _Room:
    """The room that an answer has left for lists; the first thing always finds some."""

    def __init__(self) -> None:
        self._used = 0

    def has(self, thing: BaseModel) -> bool:
        """Takes the room that a thing needs, as JSON within JSON, if there is enough."""
        size = len(orjson.dumps(thing.model_dump_json()))
        if self._used and self._used + size > PAGE_BYTES:
            return False
        self._used += size
        return True


def _campaigns(ports: Ports, user_id: str) -> tuple[dict[str, int], list[KeptUnreadable]]:
    """Counts of impressions by campaign, and what holds no count."""
    counts, unreadable = {}, []
    for campaign_id, _ in controls.rows(ports.records, "campaigns"):
        key = cap_key(campaign_id, user_id)
        if (value := ports.cache.get(key)) is not None:
            try:
                counts[campaign_id] = int(value)
            except ValueError:
                unreadable.append(_damaged(f"cache/{key}", "no count"))
    return counts, unreadable


def _letter(letters: DeadLetters, name: str) -> KeptLetter | KeptUnreadable | None:
    """A dead letter; None if it is gone since it was listed."""
    try:
        arrival, reason = letters.read(name)
    except Missing:
        return None
    except (ValueError, LookupError, TypeError) as error:
        return _damaged(name, str(error) or type(error).__name__)
    text = _short_text(arrival.payload)
    return KeptLetter(
        name=name,
        arrived=_moment(arrival.arrived),
        reason=reason,
        payload=text,
        payload_base64=None if text is not None else base64.b64encode(arrival.payload).decode(),
    )


def _short_text(payload: bytes) -> str | None:
    """The payload as text; None if it is none, or would take more room so."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    return text if len(orjson.dumps(text)) <= 1.3 * len(payload) + 100 else None


def _damaged(where: str, why: str) -> KeptUnreadable:
    return KeptUnreadable(where=where.rstrip("/"), why=why)


def _counts(viewer: Viewer) -> KeptCounts:
    return KeptCounts(
        watches=viewer.watches,
        seconds=viewer.seconds,
        impressions=viewer.impressions,
        clicks=viewer.clicks,
        likes=viewer.likes,
        skips=viewer.skips,
    )


def _keys(keys: Sequence[int]) -> Keys:
    return np.array(keys, np.uint64)


def _moment(seconds: float | None) -> datetime | None:
    """The date of unix seconds; None for None, and for what no calendar has."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
