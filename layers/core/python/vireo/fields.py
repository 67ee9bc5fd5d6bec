"""Fields that models of several domains share: ids, countries, languages, numbers, moments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
)

#: 1–128 visible characters without blanks: what a URL path and a log line take unharmed.
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-.0-~]+$")]
#: ISO 3166-1 alpha-2.
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$", examples=["DE"])]
#: BCP 47, the language and at most one subtag.
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$", examples=["en"])]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: For an int in a body: JSON has one kind of number, in which 5.0 is 5.
Whole = BeforeValidator(_whole)


_FIRST, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)


def _in_range(moment: datetime) -> datetime:
    # By the moment itself and not by its own zone's year, or what is kept could not be read again.
    if not _FIRST <= moment < _END:
        raise ValueError("must lie between 1970 and 2100, in UTC")
    return moment.astimezone(UTC)


#: A moment with its zone (ISO 8601), kept in UTC.
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
