"""The worked examples in docstrings are run, and functions that need one have one."""

from __future__ import annotations

import doctest
import inspect
from types import ModuleType
from typing import Any

import pytest

from tests.oracles_evaluation import make_log
from vireo import vectors
from vireo.training.data import metrics, requests

#: What the examples of `requests` are about; its first one shows it.
LOG = make_log(
    users=[0, 1, 0, 1, 0, 2, 1, 0, 0, 1],
    videos=[0, 1, 2, 3, 4, 0, 4, 5, 6, 7],
    times=[0, 10, 60, 70, 120, 130, 200, 4000, 4060, 8000],
    n_videos=8,
)


@pytest.mark.parametrize("module", [metrics, requests, vectors], ids=lambda m: str(m.__name__))
def test_examples_say_what_is_so(module: ModuleType) -> None:
    """A module's own examples come first; those of its functions go on from there."""
    shown = {test.name: test for test in doctest.DocTestFinder().find(module)}
    runner = doctest.DocTestRunner()
    scene: dict[str, Any] = vars(module) | {"log": LOG}
    first = shown.pop(module.__name__)
    first.globs = scene
    assert runner.run(first, clear_globs=False).failed == 0
    for test in shown.values():
        test.globs = dict(scene)
        assert runner.run(test).failed == 0, test.name
    functions = {
        f"{module.__name__}.{name}"
        for name, made in inspect.getmembers(module, inspect.isfunction)
        if made.__module__ == module.__name__ and not name.startswith("_")
    }
    assert functions <= {name for name, test in shown.items() if test.examples}
