"""Every command starts as a newcomer starts it: on the path that `make setup` makes, and no other.

What documents say of commands is held against what the commands themselves say with --help.
"""

from __future__ import annotations

import os
import re
import shlex
import site
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from tests.sources import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
#: Not cloud.sh, which is no command: the other shell scripts source it.
SCRIPTS = sorted(p.name for p in (ROOT / "scripts").glob("*.*") if p.name != "cloud.sh")
OURS = re.compile(r"make|scripts/\w+\.(py|sh)|tests(\.\w+)+")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_starts_and_says_how_it_is_used(script: str, tmp_path: Path) -> None:
    command = str(ROOT / "scripts" / script)
    assert "usage: " in helped(command).lower()
    assert helped(command, folder=tmp_path) == helped(command)


def test_the_path_is_the_one_that_set_up_makes() -> None:
    told = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/ready"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in told.splitlines() if line.endswith('/vireo.pth"')]
    made = re.findall(r"'(/[^']*)'", line)
    assert made
    installed = Path(site.getsitepackages()[0]) / "vireo.pth"
    assert installed.read_text().splitlines() == made, "stale: run `make setup`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_documented_commands_exist_and_take_what_they_are_given(path: Path) -> None:
    for command, *given in commands(path.read_text()):
        where = f"{command} {shlex.join(given)}"
        if command == "make":
            for word in given:
                name, equals, _ = word.partition("=")
                wanted = rf"^{name} \?= " if equals else rf"^{name}:"
                assert re.search(wanted, MAKEFILE, re.MULTILINE), where
        else:
            known = usage(command, given)
            for word in given:
                option = word.partition("=")[0]
                assert not option.startswith("-") or option in known, where


def test_commands_are_found_in_documents() -> None:
    assert sum(1 for path in DOCUMENTS for _ in commands(path.read_text())) > 40
    text = """Run `scripts/a.py`, `make x ENV=dev`, `vireo/b.py` or `python -m tests.c --d 1`.

```console
$ TOKEN=$(.venv/bin/python scripts/e.py --f) && .venv/bin/python scripts/g.sh h > i  # j
an answer of scripts/k.py
$ curl \\
    --l "$(make m)"
```

```
.venv/bin/python scripts/n.py --o "p q"   # r
```
"""
    assert sorted(commands(text)) == [
        ["make", "m"],
        ["make", "x", "ENV=dev"],
        ["scripts/a.py"],
        ["scripts/e.py", "--f"],
        ["scripts/g.sh", "h"],
        ["scripts/n.py", "--o", "p q"],
        ["tests.c", "--d", "1"],
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_documents_name_the_python_that_has_what_is_needed(path: Path) -> None:
    """A newcomer's own has none of the packages, and need not be called so."""
    for line in code(path.read_text()):
        for python in re.findall(r"(\S*python[\d.]*) (?:-m tests|scripts/)", line):
            assert python.endswith(".venv/bin/python"), line


def commands(text: str) -> Iterator[list[str]]:
    """Commands of ours in the code of a document, each with what it is given."""
    for line in code(text):
        if not re.search(r"\bmake |scripts/|-m tests", line):
            continue
        words = shlex.shlex(line.replace('"$(', "$(").replace(')"', ")"), punctuation_chars=True)
        words.whitespace_split = True
        for is_end, part in groupby(words, lambda word: set(word) <= set("|&;<>()")):
            command = [shlex.split(word)[0] for word in part]
            while command and not OURS.fullmatch(command[0]):
                command = command[1:]
            if command and not is_end:
                yield command


def code(text: str) -> Iterator[str]:
    """Lines of blocks (where there are prompts: those that have one), and code in sentences."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        prompts = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        yield from prompts or lines
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", outside)


def usage(command: str, given: list[str]) -> str:
    """What a command says with --help; one that has commands of its own, of the one that is meant.

    A module of the tests that takes no options is only known to be there.
    """
    if command.startswith("tests."):
        source = (ROOT / f"{command.replace('.', '/')}.py").read_text()
        return helped("-m", command) if "argparse" in source else ""
    path = str(ROOT / command)
    own = re.search(r"\{([a-z,]+)\} \.\.\.", helped(path))
    if own and given and given[0] in own[1].split(","):
        return helped(path, given[0])
    return helped(path)


@cache
def helped(*command: str, folder: Path = ROOT) -> str:
    """What it says with --help; on the environment's own path, and no other."""
    program = [*command] if command[0].endswith(".sh") else [sys.executable, *command]
    done = subprocess.run(
        [*program, "--help"],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
