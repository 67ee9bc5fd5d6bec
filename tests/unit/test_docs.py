"""What the documents say is so: links lead somewhere, and commands exist."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT
from vireo.recommender.features import FEATURES
from vireo.recommender.video_features import VIDEO_FEATURES
from vireo.training.run import Run
from vireo.training.steps import TRAINING

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def test_the_openapi_document_is_that_of_the_routes() -> None:
    spec = importlib.util.spec_from_file_location("openapi", ROOT / "scripts" / "openapi.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PATH.read_bytes() == script.document(), "run `make openapi`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{target} in {path.name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_commands_and_files_exist(path: Path) -> None:
    text = path.read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in re.findall(r"`make ([a-z0-9-]+)", text):
        assert command in targets, f"make {command}"
    for script in re.findall(r"\b(scripts/[a-z_]+\.(?:py|sh))", text):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.name)
def test_every_script_runs_by_itself(path: Path) -> None:
    """As the documents say: with what `make setup` makes, and no path of anybody's."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, path, "--help"], capture_output=True, text=True, env=plain, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_state_of_training_has_its_step_and_every_step_a_state() -> None:
    states = set(re.findall(r'"step": "([a-z_]+)"', _machine()))
    assert states == set(TRAINING.steps)


def test_the_choice_reads_what_evaluate_writes() -> None:
    assert '"$.decision.deploy"' in _machine()
    assert "decision" in Run.model_fields


def test_feature_names_are_unique() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    assert set(VIDEO_FEATURES) <= set(FEATURES)


def _machine() -> str:
    return (ROOT / "statemachines" / "training.asl.json").read_text()
