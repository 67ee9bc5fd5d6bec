"""The route of events: validates, calls one function, and returns a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Body
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from vireo.api import answer, route
from vireo.events.intake import Intake, Taken
from vireo.events.models import BATCH, EventRow
from vireo.identity import EVENTS_WRITE, Caller

#: Returns the intake of the caller's tenant, and the caller, if they may send that user's events.
Service = Callable[[str | None], tuple[Intake, Caller]]


class EventBatch(BaseModel):
    """Several events. Each is validated by itself, like a single event, with its own outcome."""

    model_config = ConfigDict(extra="forbid")

    events: Annotated[list[Any], Field(min_length=1, max_length=BATCH)]


OneOrMany = Annotated[
    Annotated[EventRow, Tag("event")] | Annotated[EventBatch, Tag("batch")],
    # Chosen by a field's name, so that errors are those of one model only.
    Discriminator(lambda body: "batch" if _has_events(body) else "event"),
]


def routes(service: Service) -> Router:
    """Builds the route of events."""
    router = Router()

    @route(
        router,
        "POST /v1/events",
        "Tell what viewers did: one event, or up to 500",
        tag="events",
        scope=EVENTS_WRITE,
        model=Taken,
        errors=(429,),
    )
    def take(body: Annotated[OneOrMany, Body()]) -> Response[str]:
        if isinstance(body, EventBatch):
            intake, caller = service(None)
            return answer(intake.take(body.events, caller.user_id))
        intake, _ = service(body.user_id)
        taken = intake.take([body.model_dump()])
        if not taken.accepted:
            fate = taken.events[0]
            raise RequestValidationError([_error(fate.field or "", fate.reason or "")])
        return answer(taken)

    return router


def _has_events(body: Any) -> bool:
    return isinstance(body, EventBatch) or (isinstance(body, dict) and "events" in body)


def _error(field: str, reason: str) -> dict[str, Any]:
    return {"type": "value_error", "loc": ("body", field), "msg": reason}
