"""The intake of events: each is validated by itself, put on the stream, and reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vireo.events.models import BATCH, EventRow, Refusal, checked
from vireo.ports import Ports, Unavailable


class Fate(BaseModel):
    """The outcome of one event."""

    model_config = ConfigDict(frozen=True)

    event_id: str | None  #: None if it is unreadable
    fate: Annotated[
        Literal["accepted", "refused", "unavailable"],
        Field(description="refused: never send it again; unavailable: send it again"),
    ]
    field: str | None = None
    reason: str | None = None


class Taken(BaseModel):
    """The outcome of every event of a call, in the same order."""

    model_config = ConfigDict(frozen=True)

    accepted: int
    events: tuple[Fate, ...]


class Intake:
    """The intake of events of one tenant."""

    def __init__(self, ports: Ports) -> None:
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
            Unavailable: no valid event could be put on the stream.
        """
        if not 1 <= len(given) <= BATCH:
            raise Refusal("events", f"a call brings 1 to {BATCH} events, not {len(given)}")
        now = self._clock.now()
        judged = [_judge(one, user, now) for one in given]
        good = [j for j, one in enumerate(judged) if isinstance(one, EventRow)]
        problems = self._publish([row for row in judged if isinstance(row, EventRow)])
        answers = dict(zip(good, problems, strict=True))
        fates = tuple(_fate(one, answers.get(j)) for j, one in enumerate(judged))
        for fate in fates:
            self._meter.count("Events", fate=fate.fate)
        accepted = sum(fate.fate == "accepted" for fate in fates)
        if good and not accepted:
            raise Unavailable("the stream takes no events now")
        return Taken(accepted=accepted, events=fates)

    def _publish(self, rows: Sequence[EventRow]) -> Sequence[str | None]:
        """Publish with the user as the key, so that the events of one viewer stay in order."""
        records = [(row.user_id, row.model_dump_json(exclude_none=True).encode()) for row in rows]
        return self._stream.publish(records) if records else []


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
