"""The sources, read as text: what tests of the layout look at."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "layers/core/python/vireo"


def files() -> Iterator[str]:
    """Paths of the repository's files, but for what is hidden and what is built."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f[0] != "." and f not in ("__pycache__", "build")]
        for name in names:
            yield (Path(folder) / name).relative_to(ROOT).as_posix()


def modules(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def pins(path: Path) -> dict[str, str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    found = [re.fullmatch(r"([A-Za-z0-9_-]+)(?:\[[a-z0-9,_-]+\])?==([^\s;]+)", w) for w in wanted]
    assert all(found), f"{path}: every requirement is pinned"
    return {m[1].lower(): m[2] for m in found if m}
