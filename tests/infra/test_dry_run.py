"""A dry run packages and synthesises for real, without an account, and shows what would come."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import plan
from tests.infra.templates import Templates, read

ROOT = Path(__file__).resolve().parents[2]
OURS = ("AWS", "PYTHON", "CDK", "JSII")


@pytest.fixture(scope="module")
def said() -> str:
    """What a dry run prints where nobody is signed in. It writes to build/, as a user's does."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    done = subprocess.run(
        [str(ROOT / "scripts/deploy.sh"), "dev", "--dry-run"],
        env={**bare, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(said: str) -> Templates:
    """The templates that it wrote."""
    return read("dev", ROOT / "build/dry-run/dev")


def test_it_counts_what_every_stack_would_create(said: str, made: Templates) -> None:
    rows = [line.split() for line in said.splitlines() if line.startswith("vireo-dev-")]
    assert [row[0] for row in rows] == [
        f"vireo-dev-{part}"
        for part in ("data", "images", "recommender", "events", "training", "callers", "api")
    ] + ["vireo-dev-monitoring"]
    inventory = json.loads((ROOT / "tests/infra/inventory.json").read_text())["dev"]
    assert {row[0].removeprefix("vireo-dev-"): int(row[1]) for row in rows} == {
        stack: sum(found["resources"].values()) for stack, found in inventory.items()
    }, "what is deployed is what all other tests look at"
    kept = {row[0]: int(row[2]) for row in rows}
    assert kept["vireo-dev-data"] == len(list(made.resources("AWS::DynamoDB::Table"))) + 4
    assert kept["vireo-dev-api"] == 0


def test_every_resource_and_statement_is_in_a_file(made: Templates) -> None:
    for stack in plan.stacks(made.folder):
        text = (made.folder / f"{stack.name}.txt").read_text()
        types = [r["Type"] for r in stack.template["Resources"].values()]
        listed = re.findall(r"^\[\+\] (AWS::\S+)", text, re.MULTILINE)
        assert sorted(listed) == sorted(types)
        statements, _, _ = text.partition("IAM Policy Changes")
        assert len(re.findall(r"^│ \+ │", statements, re.MULTILINE)) == stack.statements


def test_the_layers_are_those_that_would_be_uploaded(made: Templates) -> None:
    """With our code as it is, and the libraries of the lock."""
    stacks = {stack.name: stack for stack in plan.stacks(made.folder)}
    uploads = [made.folder / name for name in stacks["vireo-dev-recommender"].uploads]
    (core,) = [path for path in uploads if (path / "python/vireo").is_dir()]
    source = ROOT / "layers/core/python/vireo/ports.py"
    assert (core / "python/vireo/ports.py").read_bytes() == source.read_bytes()
    (serving,) = [path for path in uploads if (path / "python/faiss").is_dir()]
    assert stacks["vireo-dev-recommender"].uploads[serving.name] > 50e6
