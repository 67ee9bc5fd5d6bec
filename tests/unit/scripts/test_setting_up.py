"""`make setup` says at once what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.sources import ROOT

#: Asked as `python3 -c` it says that it is of another version; asked for more it only tells.
STUB = """#!{python}
import sys
if sys.argv[1] != "-c":
    raise SystemExit("asked for " + " ".join(sys.argv[1:]))
class Version(tuple):
    major, minor, micro = {version}
sys.version_info = Version(({version}) + ("final", 0))
exec(sys.argv[2])
"""


def set_up(folder: Path, version: tuple[int, int, int]) -> str:
    """What `make setup` says where ``python3`` is of that version, and fails."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    python = folder / "python3"
    numbers = ", ".join(map(str, version))
    python.write_text(STUB.format(python=sys.executable, version=numbers))
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={python}"],
        cwd=folder,
        # This test may itself be run by make, whose jobs are none of that one's business.
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert not (folder / ".venv").exists()
    return done.stderr


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 21), (3, 10, 16)])
def test_a_python_that_is_too_old_is_told_first(
    tmp_path: Path, version: tuple[int, int, int]
) -> None:
    said = set_up(tmp_path, version).splitlines()
    numbers = ".".join(map(str, version))
    assert said[0] == (
        f"Vireo needs Python 3.11 or later, and {tmp_path}/python3 is {numbers}. "
        "Name another: make setup PYTHON=python3.11"
    )
    assert len(said) == 2, "the other line is make's"


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 13, 2)])
def test_one_that_is_not_is_used(tmp_path: Path, version: tuple[int, int, int]) -> None:
    assert "asked for -m venv .venv" in set_up(tmp_path, version)


def test_it_is_the_version_that_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = re.findall(r"Python (\d+\.\d+) or later", (ROOT / "Makefile").read_text())
    assert [f">={version}" for version in needed] == [project["requires-python"]]
