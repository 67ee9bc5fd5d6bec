"""The one shape of every error that a client sees, and what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vireo.identity import Forbidden, Unauthenticated
from vireo.ports import Conflict, Refused, Unavailable


class _Complaint(BaseModel):
    """The base of the error models. Their validators are built at the first error."""

    model_config = ConfigDict(defer_build=True)


class FieldError(_Complaint):
    """One invalid field of a request."""

    field: Annotated[str, Field(examples=["body.limit"])]
    expected: Annotated[str, Field(examples=["Input should be less than or equal to 100"])]


class Problem(_Complaint):
    """The error of a response: a code, a message and the invalid fields."""

    code: Annotated[str, Field(examples=["invalid_request"])]
    message: str
    fields: list[FieldError] = []


class ErrorBody(_Complaint):
    """The body of every error response."""

    error: Problem
    request_id: str


class ApiError(Exception):
    """An error with the HTTP status and code that the client gets."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class TooMany(ApiError):
    """A refusal of what is too often; after so many seconds it may be sent again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(429, "too_many_requests", message)
        self.seconds = seconds


#: HTTP status and error code of the domain's exceptions, which their subclasses inherit.
Meanings = Mapping[type[Exception], tuple[int, str]]
MEANINGS: Meanings = {
    Unauthenticated: (401, "unauthenticated"),
    Forbidden: (403, "forbidden"),
    Conflict: (409, "conflict"),
    Refused: (400, "refused"),
    Unavailable: (503, "unavailable"),
}
REASONS = {
    400: "The request cannot be read",
    401: "No valid token",
    403: "The token does not allow this",
    404: "Not found",
    405: "Method not allowed",
    409: "Changed by another request meanwhile",
    415: "The body must be JSON",
    422: "The request is invalid",
    429: "Too often: come again later",
    500: "Internal error",
    503: "Temporarily unavailable",
}
