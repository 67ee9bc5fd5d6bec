"""The intake of events: each is validated by itself, put on the stream, and reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vireo.events.models import BATCH, EventRow, Refusal, checked
from vireo.keys import key_of
from vireo.ports import Ports, Unavailable
from vireo.problems import TooMany

#: Events of one viewer that are taken in so many seconds, unless a deployment says otherwise.
MOST, SECONDS = 1000, 60.0
_LIMITED = "too many events of this viewer in a minute"


class Fate(BaseModel):
    """The outcome of one event."""

    model_config = ConfigDict(frozen=True)

    event_id: str | None  #: None if it is unreadable
    fate: Annotated[
        Literal["accepted", "refused", "unavailable", "limited"],
        Field(
            description="refused: never send it again; unavailable: send it again; limited: send "
            "it again a minute later"
        ),
    ]
    field: str | None = None
    reason: str | None = None


class Taken(BaseModel):
    """The outcome of every event of a call, in the same order."""

    model_config = ConfigDict(frozen=True)

    accepted: int
    events: tuple[Fate, ...]


class Intake:
    """The intake of events of one tenant.

    Args:
        ports: of the tenant.
        most: events of one viewer that are taken in `SECONDS`, whoever sends them.
    """

    def __init__(self, ports: Ports, most: int = MOST) -> None:
        self._most = most
        self._cache = ports.cache
        self._stream = ports.stream
        self._clock = ports.clock
        self._meter = ports.meter

    def take(self, given: Sequence[Any], user: str | None = None) -> Taken:
        """Put the valid ones among up to 500 events on the stream, in order.

        Args:
            given: the events, parsed from JSON.
            user: the only user whose events the caller may send; None for any user.

        Raises:
            Refusal: there are no events, or too many.
            TooMany: none was taken, and a viewer has had as many as are taken in a minute.
            Unavailable: no valid event could be put on the stream.
        """
        if not 1 <= len(given) <= BATCH:
            raise Refusal("events", f"a call brings 1 to {BATCH} events, not {len(given)}")
        now = self._clock.now()
        judged = self._limited([_judge(one, user, now) for one in given])
        good = [j for j, one in enumerate(judged) if isinstance(one, EventRow)]
        problems = self._publish([row for row in judged if isinstance(row, EventRow)])
        answers = dict(zip(good, problems, strict=True))
        fates = tuple(_fate(one, answers.get(j)) for j, one in enumerate(judged))
        for fate in fates:
            self._meter.count("Events", fate=fate.fate)
        accepted = sum(fate.fate == "accepted" for fate in fates)
        if good and not accepted:
            raise Unavailable("the stream takes no events now")
        if not accepted and any(fate.fate == "limited" for fate in fates):
            raise TooMany(_LIMITED, SECONDS)
        return Taken(accepted=accepted, events=fates)

    def _limited(self, judged: Sequence[EventRow | Fate]) -> list[EventRow | Fate]:
        """The same, but of every viewer only as many events as are still taken are left.

        A cache that does not answer limits nobody, and says so in its own metrics.
        """
        sent = Counter(_key(one) for one in judged if isinstance(one, EventRow))
        counts = self._cache.add_all(sent, seconds=SECONDS)
        left = {key: self._most - (count - sent[key]) for key, count in counts.items()}
        found: list[EventRow | Fate] = []
        for one in judged:
            if isinstance(one, EventRow) and (key := _key(one)) in left:
                left[key] -= 1
                if left[key] < 0:
                    found.append(Fate(event_id=one.event_id, fate="limited", reason=_LIMITED))
                    continue
            found.append(one)
        return found

    def _publish(self, rows: Sequence[EventRow]) -> Sequence[str | None]:
        """Publish with the user as the key, so that the events of one viewer stay in order."""
        records = [(row.user_id, row.model_dump_json(exclude_none=True).encode()) for row in rows]
        return self._stream.publish(records) if records else []


def _key(row: EventRow) -> str:
    """The counter of a viewer's events, without their id, so that erasure need not know it."""
    return f"rate/{key_of(row.user_id):016x}"


def _judge(given: Any, user: str | None, now: float) -> EventRow | Fate:
    try:
        row = checked(given, now)
        if user is not None and row.user_id != user:
            raise Refusal("user_id", "an end user's token is good for that user only")
    except Refusal as refusal:
        name = given.get("event_id") if isinstance(given, dict) else None
        return Fate(
            event_id=name[:128] if isinstance(name, str) else None,
            fate="refused",
            field=refusal.field,
            reason=refusal.reason,
        )
    return row


def _fate(judged: EventRow | Fate, problem: str | None) -> Fate:
    if isinstance(judged, Fate):
        return judged
    if problem is None:
        return Fate(event_id=judged.event_id, fate="accepted")
    return Fate(event_id=judged.event_id, fate="unavailable", reason="the stream did not take it")
