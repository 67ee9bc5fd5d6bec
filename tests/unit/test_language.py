"""A docstring begins with a noun of the field or a verb, so that a reader takes it in at once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.sources import ROOT, modules

#: Words that begin a relative clause, where a noun would say at once what the thing is.
RELATIVE = re.compile(r"(What|Who|Whom|Whose|Where|Whether|How|Which|When|Why)\b")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


#: A comment by which a check is switched off for its line.
SWITCHED_OFF = re.compile(
    r"# (?:noqa|type: ignore|pragma: no cover)\b"
    r"(?P<code>: [A-Z0-9, ]+|\[[a-z, -]+\])?(?P<reason> - .+)?$"
)


def relative_clauses(source: str) -> Iterator[str]:
    """Names of what a source documents by a relative clause; "module" is the source itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and RELATIVE.match(ast.get_docstring(node) or ""):
            yield getattr(node, "name", "module")


def sources() -> Iterator[Path]:
    yield ROOT / "app.py"
    for folder in ("layers", "lambdas", "scripts", "stacks"):
        yield from modules(ROOT / folder)


def test_no_docstring_begins_with_a_relative_clause() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        for name in relative_clauses(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_relative_clauses_are_found_wherever_they_are() -> None:
    source = '''"""What a module is."""
class Record:
    """A record."""
    async def read(self) -> None:
        """
        Whether it is there.
        """
def whatever() -> None:
    """Whatever it is."""
def count() -> None:
    """Returns how many."""
'''
    assert list(relative_clauses(source)) == ["module", "read"]


def unexplained(lines: list[str]) -> Iterator[int]:
    """Numbers of lines that switch a check off, and say neither which nor why.

    The reason is on the line, or above it, where it may be for several lines in a row.
    """
    why = False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            why = True
        elif found := SWITCHED_OFF.search(line):
            why = why or bool(found["reason"])
            if not (why and found["code"]):
                yield number
        elif line:
            why = False


def test_a_check_is_switched_off_with_a_reason() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*sources(), *modules(ROOT / "tests")]
        for number in unexplained(path.read_text(encoding="utf-8").splitlines())
    ]
    assert not found


def test_what_is_switched_off_without_a_reason_is_found() -> None:
    off = "import a  # no" + "qa"
    assert list(unexplained([f"{off}: E402"])) == [1]
    assert list(unexplained([f"{off} - loads slowly"])) == [1], "which check?"
    assert not list(unexplained([f"{off}: E402 - loads slowly", "", f"{off}: E402"]))
    assert not list(unexplained(["# It loads slowly.", f"{off}: E402", f"{off}: E402"]))
    assert list(unexplained(["# It loads slowly.", "b = 1", f"{off}: E402"])) == [3]
