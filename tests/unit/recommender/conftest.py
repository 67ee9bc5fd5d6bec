"""A home in a temporary folder, whose time and metrics are the test's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds import NOW
from vireo.homes.clock import MovableClock
from vireo.homes.local import home
from vireo.homes.meter import LocalMeter
from vireo.ports import Ports
from vireo.recommender import serving


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(NOW)


@pytest.fixture
def meter() -> LocalMeter:
    return LocalMeter()


@pytest.fixture
def ports(tmp_path: Path, clock: MovableClock, meter: LocalMeter) -> Ports:
    return home(tmp_path, clock=clock, meter=meter).open("default")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded test machine must not look like a slow store."""
    monkeypatch.setattr(serving, "BRIEFLY", 30.0)
    monkeypatch.setattr(serving, "AT_MOST", 30.0)
