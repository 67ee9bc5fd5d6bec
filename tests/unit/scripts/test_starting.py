"""A start that fails says in a sentence what is wrong, before anything else is done."""

from __future__ import annotations

import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.sources import ROOT
from vireo.bundles import pointer
from vireo.homes.local import LocalHome
from vireo.identity import register_client
from vireo.training import generator
from vireo.training.data import dataset

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


#: Commands that open a state folder, with the option that names it and what else they need.
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "controls.py": ("--state", ["tuning"]),
    "experiment.py": ("--state", ["of-home-page"]),
    "import_dataset.py": ("--home", ["SOURCE"]),
    "issue_token.py": ("--state", []),
    "local.py": ("--state", ["--no-serve"]),
    "person.py": ("--state", ["anna", "--into=there"]),
    "purge.py": ("--state", []),
    "replay.py": ("--state", []),
    "rollback.py": ("--state", []),
    "simulate.py": ("--state", []),
    "tenant.py": ("--state", ["create", "acme"]),
}


def test_every_command_with_a_state_folder_is_here() -> None:
    found = {
        path.name
        for path in SCRIPTS.glob("*.py")
        if re.search(r'add_options\(|add_home\(|"--state"|"--home"', path.read_text())
    }
    assert found == COMMANDS.keys()


def a_file(state: Path) -> None:
    state.write_text("")


def below_a_file(state: Path) -> None:
    state.parent.write_text("")


def no_database(state: Path) -> None:
    state.mkdir(parents=True)
    (state / "records.db").write_bytes(b"no database" * 1000)


def of_another_program(state: Path) -> None:
    state.mkdir(parents=True)
    with closing(sqlite3.connect(state / "records.db")) as database:
        database.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, note TEXT)")


def a_file_within(state: Path) -> None:
    state.mkdir(parents=True)
    (state / "stream").write_text("")


#: Every command is given the first, and one command all.
SPOILT = [a_file, below_a_file, no_database, of_another_program, a_file_within]


@pytest.mark.parametrize(
    ("script", "spoil"),
    [*((script, a_file) for script in COMMANDS), *(("controls.py", how) for how in SPOILT[1:])],
)
def test_a_state_folder_that_cannot_be_one(
    tmp_path: Path, script: str, spoil: Callable[[Path], None]
) -> None:
    option, needed = COMMANDS[script]
    source = tmp_path / "data"
    dataset.write(generator.generate(generator.Settings(5, 5, 20)), source, ".csv")
    state = tmp_path / "above" / "state"
    if spoil is not below_a_file:
        state.parent.mkdir()
    spoil(state)
    given = [str(source) if word == "SOURCE" else word for word in needed]
    said = start(script, *given, f"{option}={state}")
    assert f"{state} cannot be used as a state folder: " in said


def test_a_simulation_begins_in_a_folder_of_its_own(tmp_path: Path) -> None:
    served(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert f"{tmp_path} is not empty" in start("simulate.py", f"--state={tmp_path}")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("script", ["issue_token.py", "local.py"])
def test_a_key_that_is_damaged(tmp_path: Path, script: str) -> None:
    key, holds = tmp_path / "token-key.pem", b"-----BEGIN PRIVATE KEY-----"
    key.write_bytes(holds)
    said = start(script, *(["--port=0"] if script == "local.py" else []), f"--state={tmp_path}")
    assert f"{key} holds no RSA key of 2048 bits. Move it away" in said
    assert key.read_bytes() == holds
    assert not (tmp_path / "blobs" / "default").exists(), "nothing was generated before"


def test_a_client_of_another_tenant(tmp_path: Path) -> None:
    with closing(LocalHome(tmp_path)) as home:
        register_client(home, "theirs", "acme")
    said = start("issue_token.py", "--client=theirs", f"--state={tmp_path}")
    assert said == "theirs is a client of another tenant; take --client\n"


@pytest.mark.parametrize(
    ("script", "options", "says"),
    [
        ("backtest.py", ["--data=FILE"], "holds none of these formats"),
        ("import_dataset.py", ["FILE", "--home=state"], "holds none of these formats"),
        ("seed.py", ["--viewers=5", "--videos=5", "--events=20", "--out=FILE"], "File exists"),
        ("import_dataset.py", ["DATA", "--out=FILE"], "File exists"),
        ("controls.py", ["tuning", "--put=GONE", "--state=STATE"], "GONE cannot be read: No such"),
    ],
)
def test_files_that_are_none(tmp_path: Path, script: str, options: list[str], says: str) -> None:
    (tmp_path / "FILE").write_text("")
    dataset.write(generator.generate(generator.Settings(5, 5, 20)), tmp_path / "DATA", ".csv")
    places = re.compile("FILE|DATA|GONE|STATE")
    assert says in start(script, *(places.sub(lambda m: f"{tmp_path}/{m[0]}", o) for o in options))


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
