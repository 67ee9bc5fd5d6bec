"""No command takes a name for a tenant that is not a tenant's, least of all that of the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT

COMMANDS = {
    "issue_token.py": [],
    "controls.py": ["tuning"],
    "experiment.py": ["of-home-page"],
    "person.py": ["anna", "--into=anna"],
    "purge.py": [],
    "replay.py": ["tracking"],
    "rollback.py": [],
    "import_dataset.py": [".", "--home=state"],
}
PATHS = [ROOT / "layers/core/python", ROOT / "lambdas", ROOT]


def test_every_command_with_a_tenant_is_here() -> None:
    found = {
        path.name
        for path in (ROOT / "scripts").glob("*.py")
        if {"add_options(parser)", "add_tenant(parser)"} & {*path.read_text().split()}
        or '"--tenant"' in path.read_text()
    }
    assert found == COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_refused_in_a_sentence(command: str, tmp_path: Path) -> None:
    for name in ("_system", "_other", "Ä", ""):
        done = subprocess.run(
            [
                *(sys.executable, str(ROOT / "scripts" / command)),
                *(*COMMANDS[command], f"--tenant={name}"),
            ],
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert f"{name!r} is no tenant's name" in done.stderr
        assert "Traceback" not in done.stderr
        assert not [*tmp_path.iterdir()]
