"""What the documents say is so: links lead somewhere, and commands exist."""

from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
from pathlib import Path, PurePosixPath

import orjson
import pytest

import vireo
from tests.sources import PACKAGE, ROOT, files
from vireo.recommender.features import FEATURES
from vireo.recommender.video_features import VIDEO_FEATURES
from vireo.training.run import Run
from vireo.training.steps import TRAINING

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


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
    for script in re.findall(r"(?<!/)\b(scripts/[a-z_]+\.(?:py|sh))", text):
        assert (ROOT / script).exists(), script


def test_the_version_is_told_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    module, _, name = project["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert getattr(importlib.import_module(module), name) == vireo.__version__
    document = orjson.loads((ROOT / "docs" / "openapi.json").read_bytes())
    assert document["info"]["version"] == vireo.__version__
    sections = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0].removesuffix(", unreleased") == vireo.__version__
    assert not any("unreleased" in section for section in sections[1:])


def test_every_state_of_training_has_its_step_and_every_step_a_state() -> None:
    states = set(re.findall(r'"step": "([a-z_]+)"', _machine()))
    assert states == set(TRAINING.steps)


def test_the_choice_reads_what_evaluate_writes() -> None:
    assert '"$.decision.deploy"' in _machine()
    assert "decision" in Run.model_fields


def test_feature_names_are_unique() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    assert set(VIDEO_FEATURES) <= set(FEATURES)


def test_the_architecture_names_only_what_is_there() -> None:
    named = set(re.findall(r"`([\w./-]+/|[\w./-]+\.(?:py|json|sh|md|toml))`", _architecture()))
    assert len(named) > 40
    tree = set(files())
    folders = {f"{parent}/" for path in tree for parent in PurePosixPath(path).parents}
    missing = {n for n in named if not any(f"/{p}".endswith(f"/{n}") for p in tree | folders)}
    assert not missing


def test_the_architecture_leaves_no_room_out() -> None:
    table = set(re.findall(r"^\| `([\w/]+/)` \|", _architecture(), re.MULTILINE))
    packages = {p.parent for p in PACKAGE.rglob("__init__.py")}
    rooms = {f"{p.relative_to(PACKAGE.parent)}/" for p in packages}
    rooms |= {f"{path.partition('/')[0]}/" for path in files() if "/" in path}
    assert table == rooms
    stacks = {path.removeprefix("stacks/") for path in files() if path.startswith("stacks/")}
    told = re.findall(r"`(?:stacks/)?(\w+\.py)`", _architecture().partition("## In AWS")[2])
    assert stacks - {"__init__.py"} <= set(told)


def _architecture() -> str:
    return (ROOT / "docs" / "architecture.md").read_text()


def _machine() -> str:
    return (ROOT / "statemachines" / "training.asl.json").read_text()
