"""A plugin of pytest that has coverage told which test runs, and writes how long each took."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import coverage
import pytest

#: By node id, seconds of a test with its own fixtures.
_took: dict[str, float] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Attribute the lines of a test, and of what it sets up, to it."""
    measuring = coverage.Coverage.current()
    assert measuring is not None, "run under coverage"
    measuring.switch_context(item.nodeid)
    began = monotonic()
    yield
    _took[item.nodeid] = monotonic() - began


def pytest_sessionfinish() -> None:
    """Write what is known."""
    Path(os.environ["VIREO_TOOK"]).write_text(json.dumps(_took))
