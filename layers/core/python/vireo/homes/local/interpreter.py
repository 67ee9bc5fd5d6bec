"""moto's Step Functions interpreter, with Python functions as Lambdas; no other module knows moto.

moto's parser executes the Amazon States Language itself; only calls to Lambda would go to a server
over HTTP. One name in moto is replaced, so that our executions call Python instead. Other
executions (of tests that mock AWS) are not affected.
"""

from __future__ import annotations

import io
import itertools
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from moto.stepfunctions.parser.api import LoggingConfiguration, StateMachineType
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.backend.execution import SyncExecution
from moto.stepfunctions.parser.backend.state_machine import StateMachineInstance

from vireo.ports import Execution, Refused

_LOG = logging.getLogger("vireo.executions")
# It logs every branch, and every failure that a Retry or Catch handles, at length. Exceptions of
# functions are logged here, and the outcome of an execution is returned.
logging.getLogger("moto.stepfunctions").setLevel(logging.CRITICAL)
_ACCOUNT = "000000000000"
_ROLE = f"arn:aws:iam::{_ACCOUNT}:role/laptop"
#: Step Functions' limit on the output of a state, and so on a function's result.
_RESULT_BYTES = 256 * 1024

#: Functions of the running executions, by an invented region, unique to each execution.
_running: dict[str, Mapping[str, Callable[[Any, Any], Any]]] = {}
_numbers = itertools.count()
# moto imports this name for its own use only; it is the one to replace.
_of_moto: Any = lambda_eval_utils
_client_of_moto = _of_moto.boto_client_for


class _Machine(StateMachineInstance):
    """A definition to run; implements the abstract method of moto's class."""

    def itemise(self) -> None:
        """Not used."""


class _Lambda:
    """The part of boto3's Lambda client that the interpreter uses."""

    def __init__(self, functions: Mapping[str, Callable[[Any, Any], Any]]) -> None:
        self._functions = functions

    def invoke(self, FunctionName: str, Payload: bytes = b"{}", **_: Any) -> dict[str, Any]:
        """Call a function with the JSON that Lambda would pass, and answer as Lambda does."""
        try:
            result = self._functions[FunctionName](orjson.loads(Payload), None)
            payload = orjson.dumps(result)
            if len(payload) > _RESULT_BYTES:
                return _failure("DataLimitExceeded", f"over {_RESULT_BYTES} bytes")
        except Exception as error:  # noqa: BLE001 - whatever it is, Lambda reports it
            _LOG.exception("%s failed", FunctionName)
            return _failure(type(error).__name__, str(error))
        return {"StatusCode": 200, "Payload": io.BytesIO(payload)}


def _failure(error: str, message: str) -> dict[str, Any]:
    payload = orjson.dumps({"errorType": error, "errorMessage": message})
    return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": io.BytesIO(payload)}


def _client(region: str, service: str, state_credentials: Any = None) -> Any:
    functions = _running.get(region)
    if functions is None:
        return _client_of_moto(region=region, service=service, state_credentials=state_credentials)
    return _Lambda(functions)


_of_moto.boto_client_for = _client


def interpret(
    machine: str,
    name: str,
    definition: str,
    document: Mapping[str, Any],
    functions: Mapping[str, Callable[[Any, Any], Any]],
) -> Execution:
    """Run an execution to its end, in this thread. Raises `Refused` for an invalid definition."""
    region = f"laptop-{next(_numbers)}"
    arn = f"arn:aws:states:{region}:{_ACCOUNT}:stateMachine:{machine}"
    try:
        AmazonStateLanguageParser.parse(definition)
    except Exception as error:
        raise Refused(f"{machine}: {error}") from error
    execution = SyncExecution(
        name=name,
        sm_type=StateMachineType.STANDARD,
        role_arn=_ROLE,
        exec_arn=f"arn:aws:states:{region}:{_ACCOUNT}:execution:{machine}:{name}",
        account_id=_ACCOUNT,
        region_name=region,
        state_machine=_Machine(machine, arn, definition, _ROLE, LoggingConfiguration()),
        start_date=datetime.now(tz=UTC),
        cloud_watch_logging_session=None,
        activity_store={},
        input_data=orjson.dumps(document).decode(),
    )
    _running[region] = functions
    try:
        execution.start()
    finally:
        del _running[region]
    return Execution(name, execution.status, execution.output, execution.error, execution.cause)
