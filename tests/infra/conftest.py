"""The templates of all environments, synthesised once for all tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import app
from stacks.environments import ENVIRONMENTS
from tests.infra.templates import Templates, read


@pytest.fixture(scope="session")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Templates]:
    """By name of the environment; with the layers as they are in the sources."""
    return {name: synthesise(name, tmp_path_factory.mktemp(name)) for name in ENVIRONMENTS}


@pytest.fixture(params=sorted(ENVIRONMENTS))
def cloud(request: pytest.FixtureRequest, clouds: Mapping[str, Templates]) -> Templates:
    """Each environment in turn."""
    return clouds[request.param]


def synthesise(name: str, folder: Path) -> Templates:
    """Synthesise with cdk-nag, as a deployment would. Raises what it finds."""
    app.synthesise(ENVIRONMENTS[name], folder=str(folder), built=False)
    return read(name, folder)
