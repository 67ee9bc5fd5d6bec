"""What an event is, once: for the route, the stream, the collected files and the Glue table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from vireo.fields import Country, Identifier, Moment, Whole
from vireo.keys import key_of
from vireo.viewers.viewer import Event, EventType

#: The end of the moments that count as one: 2100-01-01 (later: somebody's milliseconds).
LATEST = 4_102_444_800.0
#: The longest that one watch may last, in seconds: two days.
LONGEST = 172_800.0
#: How far ahead of us a client's clock may be, and how late an event may come, in seconds.
EARLY, LATE = 300.0, 30 * 86_400.0
#: How many events one call may bring.
BATCH = 500

_MOMENT: TypeAdapter[Any] = TypeAdapter(Moment)


def _seconds(value: Any) -> Any:
    """Unix seconds of ISO 8601 with a zone; numbers are left to be checked."""
    return _MOMENT.validate_python(value).timestamp() if isinstance(value, str) else value


Timestamp = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0, lt=LATEST, allow_inf_nan=False, strict=True),
    WithJsonSchema(
        {
            "description": "unix seconds, or ISO 8601 with a zone",
            "anyOf": [
                {"type": "number", "minimum": 0, "exclusiveMaximum": LATEST},
                {"type": "string", "format": "date-time"},
            ],
        }
    ),
]


class EventRow(BaseModel):
    """One thing that a viewer did to a video, or that was shown to them, and what it followed from.

    The fields are the columns of collected events, in their order (docs/events.md). Values are of
    the types that JSON has for them: ``"5"`` is no number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    event_id: Annotated[
        Identifier, Field(description="made by the client; the same id twice is one event")
    ]
    user_id: Identifier
    video_id: Identifier
    type: Annotated[EventType, Field(strict=False)]  # else nothing but a member
    timestamp: Timestamp
    watch_seconds: Annotated[float | None, Field(ge=0, le=LONGEST, allow_inf_nan=False)] = None
    watch_fraction: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    device: Identifier | None = None
    country: Country | None = None
    position: Annotated[
        int | None, Field(ge=0, le=1_000_000, description="0 is the first"), Whole
    ] = None
    request_id: Annotated[
        Identifier | None, Field(description="of the recommendations that it followed from")
    ] = None
    slot: Identifier | None = None
    variant: Identifier | None = None

    def happened(self) -> Event:
        """The event as it changes a viewer."""
        seconds, fraction = self.watch_seconds, self.watch_fraction
        return Event(
            self.type,
            key_of(self.video_id),
            self.timestamp,
            math.nan if seconds is None else seconds,
            math.nan if fraction is None else fraction,
        )


class Exposure(BaseModel):
    """Who was in which variants in a request: made by the recommender, on the same stream."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: Annotated[str, Field(max_length=200)]
    user_id: Identifier
    type: Literal["exposure"]
    timestamp: Timestamp
    request_id: str
    model_version: str
    experiments: dict[str, str]


def _columns() -> dict[str, str]:
    fields = EventRow.model_fields | {
        name: Exposure.model_fields[name] for name in ("model_version", "experiments")
    }
    return {name: _hive(field.annotation) for name, field in fields.items()}


def _hive(annotation: Any) -> str:
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    if annotation == dict[str, str]:
        return "map<string,string>"
    kind = kinds[0] if kinds else annotation
    kind = get_args(kind)[0] if get_args(kind) else kind
    return {float: "double", int: "int"}.get(kind, "string")


#: Columns of collected events by name, with their Hive types, as Glue and Arrow take them.
COLUMNS: Mapping[str, str] = _columns()


class Refusal(ValueError):
    """An event that cannot be taken: which field is to blame, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def checked(given: Any, now: float) -> EventRow:
    """The event, if it is well-formed and of a plausible time.

    Args:
        given: what JSON had.
        now: unix seconds at which it came in.

    Raises:
        Refusal: it is not.
    """
    try:
        row = EventRow.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Refusal(".".join(map(str, first["loc"])) or "event", first["msg"]) from None
    if row.timestamp > now + EARLY:
        raise Refusal("timestamp", f"lies more than {EARLY:g} seconds ahead of us")
    if row.timestamp < now - LATE:
        raise Refusal("timestamp", f"is more than {LATE / 86_400:g} days old: import it instead")
    return row
