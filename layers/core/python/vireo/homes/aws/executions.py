"""Executions in Step Functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from vireo.homes.aws.errors import translated
from vireo.homes.limits import owned
from vireo.homes.names import execution_name
from vireo.ports import Execution, Missing
from vireo.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


class StepFunctions:
    """`vireo.ports.Executions` of one tenant; names of executions start with the tenant."""

    def __init__(self, client: Callable[[], SFNClient], tenant: str, settings: Settings) -> None:
        self._client = client
        self._tenant = tenant
        self._settings = settings

    def start(self, machine: str, name: str, document: Mapping[str, Any]) -> str:
        """See the port."""
        own = orjson.dumps(owned(document, self._tenant), option=orjson.OPT_SORT_KEYS)
        with translated(f"execution {machine} {name}"):
            self._client().start_execution(
                stateMachineArn=self._arn(machine),
                name=execution_name(self._tenant, name),
                input=own.decode(),
            )
        return name

    def describe(self, machine: str, name: str) -> Execution:
        """See the port."""
        arn = self._arn(machine).replace(":stateMachine:", ":execution:")
        with translated(f"execution {machine} {name}"):
            found = self._client().describe_execution(
                executionArn=f"{arn}:{execution_name(self._tenant, name)}"
            )
        output = found.get("output")
        return Execution(
            name,
            found["status"],
            None if output is None else orjson.loads(output),
            found.get("error"),
            found.get("cause"),
        )

    def _arn(self, machine: str) -> str:
        arn = self._settings.machine(machine)
        if arn is None:
            raise Missing(f"state machine {machine}")
        return arn
