"""dynalite, another implementation of DynamoDB's protocol: where it and moto agree, AWS may, too.

It is a Node program. Node comes as a wheel with requirements.txt, dynalite from npm, locked in
``tests/contract/dynalite``, into ``build/`` when a test first needs it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts import node_package

#: Listens on a free port of this machine, says which, and ends with whoever started it.
SERVER = """
const server = require("dynalite")({ createTableMs: 0 });
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume();
"""


@contextmanager
def running() -> Iterator[str]:
    """The address of a dynalite that holds its tables in memory."""
    command = [str(node_package.NODE), "--eval", SERVER]
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
    try:
        return node_package.installed(node_package.DYNALITE)
    except node_package.NotInstalled as error:
        pytest.fail(
            "Records are tested against dynalite, which could not be installed: npm's registry "
            f"must be reachable the first time.\n{error}",
            pytrace=False,
        )
