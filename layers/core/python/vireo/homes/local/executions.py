"""State machines on a laptop: the deployed definition, run by moto's interpreter."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import orjson

from vireo.homes.limits import owned
from vireo.homes.local import disk
from vireo.homes.names import execution_name
from vireo.ports import Clock, Conflict, Execution, Missing, Refused

_LOG = logging.getLogger("vireo.executions")

Function = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class _State:
    """An execution as stored in its file."""

    status: str
    document: Mapping[str, Any]
    started: float
    stopped: float | None = None
    output: Mapping[str, Any] | None = None
    error: str | None = None
    cause: str | None = None


class Machines:
    """The executions of all tenants: for each a JSON file, and a lock held by its process.

    A process that dies releases the lock; the next reader then records the execution as aborted.
    """

    def __init__(
        self, folder: Path, functions: Mapping[str, Function], definitions: Path, clock: Clock
    ) -> None:
        self._folder = folder
        self._functions = functions
        self._definitions = definitions
        self._clock = clock
        self._threads: dict[tuple[str, str], Thread] = {}

    def start(self, machine: str, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution in a thread. Raises `Missing`, `Conflict`, `Refused`."""
        self._path(machine, name, "json")  # raises for an invalid name of a machine
        definition = self._definition(machine)
        lock = self._claim(machine, name)
        if lock is None:
            self._same_or_conflict(machine, name, document)
            return
        state = _State("RUNNING", document, self._clock.now())
        self._save(machine, name, state)
        thread = Thread(
            target=self._run,
            args=(machine, name, definition, state, lock),
            name=f"{machine}/{name}",
            daemon=True,
        )
        self._threads[machine, name] = thread
        thread.start()

    def describe(self, machine: str, name: str) -> _State:
        """The state of an execution. Raises `Missing`."""
        state = self._load(machine, name)
        if state.status == "RUNNING" and (lock := _locked(self._path(machine, name, "lock"))):
            try:  # nobody holds it: either it has just ended, or its process has died
                state = self._load(machine, name)
                if state.status == "RUNNING":
                    state = self._ended(
                        state, "ABORTED", error="Vireo.Crashed", cause="The process ended."
                    )
                    self._save(machine, name, state)
            finally:
                os.close(lock)
        return state

    def forget(self, tenant: str) -> None:
        """Remove the executions of a tenant that have ended."""
        for path in list(self._folder.glob(f"*/{execution_name(tenant, 'x')[:-1]}*.json")):
            machine, name = path.parent.name, path.stem
            if self.describe(machine, name).status != "RUNNING":
                path.unlink(missing_ok=True)
                self._path(machine, name, "lock").unlink(missing_ok=True)

    def wait(self, machine: str, tenant: str, name: str, seconds: float | None = None) -> bool:
        """Wait for an execution of this process; returns whether it has ended."""
        thread = self._threads.get((machine, execution_name(tenant, name)))
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _run(self, machine: str, name: str, definition: str, state: _State, lock: int) -> None:
        # Imported here: moto and boto3 take a second to load, and serving needs neither.
        from vireo.homes.local.interpreter import interpret  # noqa: PLC0415

        try:
            end = interpret(machine, name, definition, state.document, self._functions)
            state = self._ended(state, end.status, end.output, end.error, end.cause)
        except Exception as error:  # noqa: BLE001 - an execution must come to an end
            _LOG.exception("the interpreter failed on %s/%s", machine, name)
            state = self._ended(state, "FAILED", error="States.Runtime", cause=str(error))
        try:
            self._save(machine, name, state)
        finally:  # if its end could not be written, it will be seen as aborted
            os.close(lock)

    def _ended(
        self,
        state: _State,
        status: str,
        output: Mapping[str, Any] | None = None,
        error: str | None = None,
        cause: str | None = None,
    ) -> _State:
        return _State(
            status, state.document, state.started, self._clock.now(), output, error, cause
        )

    def _definition(self, machine: str) -> str:
        """The definition, with each function's placeholder ``${Name}`` replaced by its name."""
        try:
            definition = (self._definitions / f"{machine}.asl.json").read_text()
        except FileNotFoundError:
            raise Missing(f"state machine {machine}") from None
        for function in self._functions:
            definition = definition.replace(f"${{{function}}}", function)
        if "${" in definition:
            raise Refused(f"{machine}: nothing is given for a placeholder of its definition")
        return definition

    def _claim(self, machine: str, name: str) -> int | None:
        """The lock of a new execution; None if the name is taken."""
        path = self._path(machine, name, "lock")
        disk.make_folder(path.parent)
        lock = _locked(path)
        if lock is not None and self._path(machine, name, "json").exists():
            os.close(lock)
            return None
        return lock

    def _same_or_conflict(self, machine: str, name: str, document: Mapping[str, Any]) -> None:
        try:
            state = self.describe(machine, name)
        except Missing:  # claimed by a process that has not written it yet
            raise Conflict(f"{machine} {name} exists") from None
        if state.status != "RUNNING" or state.document != document:
            raise Conflict(f"{machine} {name} exists")

    def _path(self, machine: str, name: str, kind: str) -> Path:
        if not machine.isidentifier():
            raise Refused(f"not a state machine's name: {machine!r}")
        return self._folder / machine / f"{name}.{kind}"

    def _load(self, machine: str, name: str) -> _State:
        try:
            return _State(**orjson.loads(self._path(machine, name, "json").read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(f"execution {machine} {name}") from None

    def _save(self, machine: str, name: str, state: _State) -> None:
        path = self._path(machine, name, "json")
        with disk.replacing(path, path.with_suffix(".unfinished")) as unfinished:
            unfinished.write_bytes(orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2))


class LocalExecutions:
    """`vireo.ports.Executions` of one tenant."""

    def __init__(self, machines: Machines, tenant: str) -> None:
        self._machines = machines
        self._tenant = tenant

    def start(self, machine: str, name: str, document: Mapping[str, Any]) -> str:
        """See the port."""
        own = owned(document, self._tenant)
        self._machines.start(machine, execution_name(self._tenant, name), own)
        return name

    def describe(self, machine: str, name: str) -> Execution:
        """See the port."""
        state = self._machines.describe(machine, execution_name(self._tenant, name))
        return Execution(name, state.status, state.output, state.error, state.cause)


def _locked(path: Path) -> int | None:
    """The lock of a file, or None if another process holds it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file
