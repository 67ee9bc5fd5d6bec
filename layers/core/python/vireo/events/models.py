"""The model of an event, for the route, the stream, the collected files and the Glue table."""

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

#: Upper limit of a timestamp, 2100-01-01: anything later is in milliseconds by mistake.
LATEST = 4_102_444_800.0
#: Maximum length of a watch in seconds: two days.
LONGEST = 172_800.0
#: Tolerance for clients' clocks that are fast, and maximum age of an event, in seconds.
EARLY, LATE = 300.0, 30 * 86_400.0
#: Maximum number of events in one call.
BATCH = 500

_MOMENT: TypeAdapter[Any] = TypeAdapter(Moment)


def _seconds(value: Any) -> Any:
    """Unix seconds of an ISO 8601 string with a zone; numbers are returned as they are."""
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
    """An action of a viewer on a video, or an impression, with its context.

    The fields are the columns of collected events, in their order (docs/events.md). Types are
    strict, as in JSON: ``"5"`` is not a number.
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
        """The event in the form that is applied to a viewer."""
        seconds, fraction = self.watch_seconds, self.watch_fraction
        return Event(
            self.type,
            key_of(self.video_id),
            self.timestamp,
            math.nan if seconds is None else seconds,
            math.nan if fraction is None else fraction,
        )


class Exposure(BaseModel):
    """The experiment variants of a request: written by the recommender to the same stream."""

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


#: Hive types of the columns of collected events, by name, for Glue and Arrow.
COLUMNS: Mapping[str, str] = _columns()


class Refusal(ValueError):
    """An invalid event; names the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def checked(given: Any, now: float) -> EventRow:
    """The event, validated.

    Args:
        given: the event, parsed from JSON.
        now: its time of arrival in unix seconds.

    Raises:
        Refusal: it is malformed, or its time is implausible.
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
