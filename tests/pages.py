"""The pages of docs, read as tests need them: tables by heading, and what is set in code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.sources import ROOT

Row = Mapping[str, str]  #: column to cell


def tables(page: str) -> dict[str, list[list[Row]]]:
    """All tables of a page of docs by the heading that they stand under."""
    found: dict[str, list[list[Row]]] = {}
    heading, lines = "", []
    for line in [*Path(ROOT / "docs" / page).read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line)
            continue
        if lines:
            found.setdefault(heading, []).append(_rows(lines))
            lines = []
        if line.startswith("#"):
            heading = line.lstrip("# ")
    return found


def codes(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def modules(cell: str) -> set[str]:
    """The modules that a cell names."""
    return {code for code in codes(cell) if code.endswith(".py")}


def _rows(lines: Sequence[str]) -> list[Row]:
    names, _, *rest = [_cells(line) for line in lines]
    return [dict(zip(names, cells, strict=True)) for cells in rest]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
