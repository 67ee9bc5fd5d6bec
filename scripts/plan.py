"""Shows what deploying a synthesised environment creates where there is nothing; needs no account.

The table counts by stack; beside the templates, a file for each stack has every resource and every
IAM statement, as `cdk diff` tells them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CDK = [sys.executable, str(Path(__file__).with_name("cdk.py"))]


@dataclass(frozen=True)
class Stack:
    """A stack of the assembly: its template, and the sizes of what is uploaded for it."""

    name: str
    template: dict[str, Any]
    uploads: dict[str, int]

    @property
    def kept(self) -> int:
        """Resources that stay when the stack is deleted."""
        resources = self.template["Resources"].values()
        return sum(r.get("DeletionPolicy", "Delete").startswith("Retain") for r in resources)

    @property
    def statements(self) -> int:
        """Statements of policies, of whatever has one, and permissions to call functions."""
        permissions = [
            r for r in self.template["Resources"].values() if r["Type"] == "AWS::Lambda::Permission"
        ]
        return len(permissions) + sum(1 for _ in _statements(self.template["Resources"]))


def main(arguments: list[str] | None = None) -> None:
    """Read the options, write the files, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what `cdk synth` wrote")
    folder = parser.parse_args(arguments).folder
    found = stacks(folder)
    with ThreadPoolExecutor(2) as threads:
        told = threads.map(lambda stack: difference(folder, stack.name), found)
        for stack, text in zip(found, told, strict=True):
            (folder / f"{stack.name}.txt").write_text(text)
    print(table(found))
    print(f"\nEvery resource and every IAM statement: {folder}/*.txt")


def stacks(folder: Path) -> list[Stack]:
    """The stacks of an assembly, in the order in which they are deployed."""
    artifacts = json.loads((folder / "manifest.json").read_text())["artifacts"]
    return [
        Stack(
            name,
            json.loads((folder / artifact["properties"]["templateFile"]).read_text()),
            _uploads(folder, name),
        )
        for name, artifact in artifacts.items()
        if artifact["type"] == "aws:cloudformation:stack"
    ]


def table(found: list[Stack]) -> str:
    """Counts by stack, and in all. Two stacks may need the same upload, which is made once."""
    uploads: dict[str, int] = {}
    lines = [f"{'stack':26} {'resources':>9} {'kept':>5} {'IAM statements':>15} {'upload':>9}"]
    for stack in found:
        fresh = {name: size for name, size in stack.uploads.items() if name not in uploads}
        uploads |= fresh
        lines.append(_row(stack.name, [stack], sum(fresh.values())))
    lines.append(_row("together", found, sum(uploads.values())))
    return "\n".join(lines)


def difference(folder: Path, stack: str) -> str:
    """Returns the output of `cdk diff` for a stack, against an empty template."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as nothing:
        nothing.write("{}")
        nothing.flush()
        command = ["diff", stack, "--app", str(folder), "--exclusively", "--no-color"]
        done = subprocess.run(
            [*CDK, *command, "--no-notices", "--template", nothing.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # where it tells of differences
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stdout)
    return done.stdout


def _row(name: str, found: list[Stack], size: int) -> str:
    resources = sum(len(stack.template["Resources"]) for stack in found)
    kept, statements = sum(s.kept for s in found), sum(s.statements for s in found)
    return f"{name:26} {resources:9} {kept:5} {statements:15} {size / 1e6:6.1f} MB"


def _statements(value: Any) -> Iterator[Any]:
    """The statements of all policies, wherever in a template."""
    if isinstance(value, dict):
        if isinstance(value.get("Statement"), list) and "Version" in value:
            yield from value["Statement"]
        for part in value.values():
            yield from _statements(part)
    elif isinstance(value, list):
        for part in value:
            yield from _statements(part)


def _uploads(folder: Path, stack: str) -> dict[str, int]:
    """Unpacked bytes of everything that is uploaded for a stack, but for its template."""
    files = json.loads((folder / f"{stack}.assets.json").read_text())["files"]
    paths = [folder / file["source"]["path"] for file in files.values()]
    return {path.name: _bytes(path) for path in paths if not path.name.endswith(".template.json")}


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)


if __name__ == "__main__":
    main()
