"""The templates of all environments, synthesised once for all tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

import app
from stacks.environments import ENVIRONMENTS
from tests.infra import emissions
from tests.infra.account import Account
from tests.infra.scenes import Happening, Prod, Scene
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


@pytest.fixture(scope="session")
def prod(clouds: Mapping[str, Templates]) -> Prod:
    """What has a name in prod."""
    return Prod(Account(clouds["prod"].by_stack))


class Scenes(Protocol):
    """Makes scenes."""

    def __call__(self, *, start: float = 0.0, end: float) -> Scene:
        """A scene between two moments, in which nothing happens yet."""
        ...


@pytest.fixture(scope="session")
def scene(prod: Prod, tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """Makes scenes; what a function writes is found out once."""
    known: dict[tuple[Happening, str], Sequence[str]] = {}

    def emitted(what: Happening, version: str) -> Sequence[str]:
        if (what, version) not in known:
            scratch = tmp_path_factory.mktemp("scratch")
            known[what, version] = emissions.emitted(prod.account, what, scratch, version)
        return known[what, version]

    def make(*, start: float = 0.0, end: float) -> Scene:
        return Scene(prod, emitted, start, end)

    return make
