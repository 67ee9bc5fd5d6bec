"""Translation of AWS errors to the exceptions of the ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from vireo.ports import Conflict, Missing, Refused, Unavailable

#: Both spellings: of an exception, and of a cancelled transaction's reasons.
_CONFLICTS = {
    "ConditionalCheckFailedException",
    "ConditionalCheckFailed",
    "ExecutionAlreadyExists",
}
_MISSING = {"NoSuchKey", "404", "ExecutionDoesNotExist", "StateMachineDoesNotExist"}
_REFUSED = {
    "ValidationException",
    "InvalidArgumentException",
    "InvalidExecutionInput",
    "InvalidName",
    "KeyTooLongError",
    "EntityTooLarge",
    "ItemCollectionSizeLimitExceededException",
}


class Contended(Unavailable):
    """Another write is in progress; nothing was written, and the call may be repeated."""


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise `Conflict`, `Missing`, `Refused` or `Unavailable` in place of botocore's exceptions.

    Denied access and missing tables are `Unavailable` too, with AWS' own code in the message: a
    request may go on without them, and the metric of degraded requests shows them.
    """
    try:
        yield
    except ClientError as error:
        raise _translation(what, error) from error
    except ParamValidationError as error:
        raise Refused(f"{what}: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"{what}: {error}") from error


def _translation(what: str, error: ClientError) -> Exception:
    code = error.response["Error"]["Code"]
    codes = {code, *(r.get("Code", "") for r in error.response.get("CancellationReasons", []))}
    message = f"{what}: {code}: {error.response['Error'].get('Message', '')}"
    if codes & _CONFLICTS:
        return Conflict(message)
    if codes & {"TransactionConflictException", "TransactionConflict"}:
        return Contended(message)
    # The reasons of a cancelled transaction spell it "ValidationError".
    if codes & (_REFUSED | {"ValidationError"}):
        return Refused(message)
    return Missing(message) if codes & _MISSING else Unavailable(message)
