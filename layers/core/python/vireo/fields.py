"""Pydantic fields shared by several domains: ids, countries, languages, numbers, moments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
)

#: 1–128 visible ASCII characters without ``/`` and blanks: safe in a URL path and a log line.
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-.0-~]+$")]
#: ISO 3166-1 alpha-2.
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$", examples=["DE"])]
#: BCP 47: the language and at most one subtag.
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$", examples=["en"])]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: Lets an int field accept 5.0, because JSON has only one kind of number.
Whole = BeforeValidator(_whole)


_FIRST, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)


def _in_range(moment: datetime) -> datetime:
    # By the moment itself and not by its own zone's year, or what is kept could not be read again.
    if not _FIRST <= moment < _END:
        raise ValueError("must lie between 1970 and 2100, in UTC")
    return moment.astimezone(UTC)


#: An ISO 8601 timestamp with its time zone, converted to UTC.
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
