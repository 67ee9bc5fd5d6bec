"""`tests.mutants`: every change is one that a test could notice, and nothing else changes."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.mutations import mutants, mutated

SOURCE = '''
"""What it is for."""
import logging

LIMIT: int = 3

def allowed(number: int, *, strict: bool = True) -> bool:
    """Whether it is."""
    if number < LIMIT and not strict:
        logging.info("few")
        return True
    note(number)
    return None
'''


def changes(source: str = SOURCE) -> dict[str, str]:
    return {m.change: mutated(source, m) for m in mutants("a.py", source)}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("Lt to LtE", "    if number <= LIMIT and (not strict):"),
        ("and to or", "    if number < LIMIT or not strict:"),
        ("without not", "    if number < LIMIT and strict:"),
        ("3 to 4", "LIMIT: int = 4"),
        ("if always", "    if True:"),
        ("if never", "    if False:"),
        ("return None", "        return None"),
        ("left out", "    pass"),
    ],
)
def test_a_change_is_of_one_place(change: str, line: str) -> None:
    before, after = ast.unparse(ast.parse(SOURCE)).splitlines(), changes()[change].splitlines()
    assert line in after
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_what_does_nothing_is_not_changed() -> None:
    assert set(changes()) == {
        "Lt to LtE",
        "and to or",
        "without not",
        "3 to 4",
        "True to False",
        "if always",
        "if never",
        "return None",
        "left out",
    }
    assert not list(mutants("a.py", '"""Text."""\nimport os\nx: list[int]\nlog.info("a", 1)\n'))


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = [m.name for m in mutants("a.py", SOURCE)]
    assert len(names) == len(set(names)) > 8
