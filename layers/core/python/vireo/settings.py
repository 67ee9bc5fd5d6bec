"""Every setting that a function reads from its environment; no variable's name is typed twice."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vireo.ports import TENANT, Table

_PREFIX = "VIREO_"
Seconds = Annotated[float, Field(gt=0, le=900)]


class WrongSettings(Exception):
    """A variable of the environment is missing, unknown or malformed."""


class Settings(BaseModel):
    """The settings of a deployment's functions. Field ``bucket`` is the variable ``VIREO_BUCKET``.

    The stacks write them with `as_env`, the functions read them with `from_env`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = "dev"
    #: Names of the tables, one for each `vireo.ports.Table`.
    videos_table: str
    viewers_table: str
    overlay_table: str
    registry_table: str
    settings_table: str
    bucket: str
    stream: str
    #: URL of the cache (``rediss://…``); without one every look-up is a miss.
    redis_url: str | None = None
    #: Name of the ElastiCache group and of its user, as which the function signs in with its role;
    #: without one the URL holds the credentials, if any.
    redis_identity: str | None = None
    #: ARN of the training state machine, for functions that start or watch it.
    training_machine: str | None = None
    #: The serving function, where training publishes versions of it; and CodeDeploy's
    #: ``application/group``, where requests are shifted to them by steps.
    serving_function: str | None = None
    serving_group: str | None = None
    #: Names of the functions whose published versions upkeep deletes, with commas between.
    versioned_functions: str | None = None
    #: Bundles for which this version of the function was published: JSON, tenant → version.
    serves: str | None = None
    #: Events of one viewer that the intake takes in a minute.
    viewer_events: Annotated[int, Field(ge=1)] = 1000
    metrics_namespace: str = "Vireo"
    #: A writable folder, for memory-mapped bundles.
    scratch: str = "/tmp"

    #: Time limits of one attempt, in seconds, and the number of attempts.
    record_seconds: Seconds = 0.5
    blob_seconds: Seconds = 10.0
    stream_seconds: Seconds = 2.0
    cache_seconds: Seconds = 0.05
    connect_seconds: Seconds = 0.5
    attempts: Annotated[int, Field(ge=1, le=10)] = 2

    @field_validator("serves")
    @classmethod
    def _serves(cls, given: str | None) -> str | None:
        """Versions by tenant."""
        found = json.loads(given or "{}")
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise ValueError("must be a JSON object: tenant → version")
        if wrong := sorted(name for name in found if not re.fullmatch(TENANT, name)):
            raise ValueError(f"not a tenant: {wrong[0]!r}")
        return given

    def table(self, table: Table) -> str:
        """The name of a table."""
        return str(getattr(self, f"{table.value}_table"))

    def bundles(self) -> dict[str, str]:
        """Bundle versions by tenant for which this version of the function was published."""
        found: dict[str, str] = json.loads(self.serves or "{}")
        return found

    def functions(self) -> list[str]:
        """Names of the functions whose versions this one deletes."""
        return self.versioned_functions.split(",") if self.versioned_functions else []

    def machine(self, name: str) -> str | None:
        """The ARN of a state machine; None if this function does not know it."""
        arn: str | None = getattr(self, f"{name}_machine", None)
        return arn

    def as_env(self) -> dict[str, str]:
        """Environment variables that `from_env` turns into equal settings."""
        return {_variable(k): str(v) for k, v in self.model_dump(exclude_none=True).items()}

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings of this process. Raises `WrongSettings`, naming every wrong variable."""
        fields = {_variable(name): name for name in cls.model_fields}
        ours = {name: value for name, value in environ.items() if name.startswith(_PREFIX)}
        try:
            return cls.model_validate({fields.get(k, k): v for k, v in ours.items()})
        except ValidationError as error:
            raise WrongSettings(
                "; ".join(_complaint(str(e["loc"][0]), e["msg"], e["type"]) for e in error.errors())
            ) from None


def _variable(field: str) -> str:
    return _PREFIX + field.upper()


def _complaint(field: str, message: str, kind: str) -> str:
    if kind == "missing":
        return f"{_variable(field)} is not set"
    if kind == "extra_forbidden":
        return f"{field} is no setting"
    return f"{_variable(field)}: {message}"
