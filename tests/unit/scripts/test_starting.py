"""A start that fails says in a sentence what is wrong, before anything else is done."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT
from vireo.bundles import pointer
from vireo.homes.local import LocalHome

SCRIPTS = ROOT / "scripts"


def start(script: str, *options: str) -> str:
    """What a command that cannot start says."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = start("local.py", f"--port={port}", f"--state={state}")
    assert f"Port {port} cannot be listened on" in said
    assert not state.exists()


COMMANDS: list[tuple[str, list[str]]] = [
    ("local.py", ["--no-serve"]),
    ("issue_token.py", []),
    ("controls.py", ["tuning"]),
    ("rollback.py", []),
    ("replay.py", []),
]


@pytest.mark.parametrize(("script", "options"), COMMANDS)
def test_a_state_folder_that_cannot_be_one(tmp_path: Path, script: str, options: list[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "records.db").write_bytes(b"no database" * 1000)
    for state in (file, broken):
        said = start(script, *options, f"--state={state}")
        assert f"{state} cannot be used as a state folder" in said


def served(state: Path) -> None:
    """A state folder that a bundle serves in, so that a start need not train."""
    home = LocalHome(state)
    pointer.switch(home.open("default").records, "run-1", expect=None)
    home.close()


def test_a_position_that_may_not_be_read(tmp_path: Path) -> None:
    served(tmp_path)
    position = tmp_path / "stream" / "collected" / "shard-0000.position"
    position.mkdir(parents=True)
    said = start("local.py", "--port=0", f"--state={tmp_path}")
    assert f"{position} cannot be read: Is a directory" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "is not JSON"), ("[]", "has to be an object"), (None, "cannot be read")],
)
def test_settings_that_are_none(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "settings.json"
    if text is not None:
        file.write_text(text)
    for script, needed in (
        ("local.py", []),
        ("backtest.py", ["--data", "x"]),
        ("cloud.py", ["train", "dev"]),
    ):
        assert says in start(script, *needed, "--settings", str(file))
