"""The CDK's command is installed as it is locked, by the Node of the requirements, and starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import node_package
from tests.sources import ROOT

LOCKS = [node_package.CDK, node_package.DYNALITE]
VERSION = json.loads((node_package.CDK / "package.json").read_text())["dependencies"]["aws-cdk"]


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has a shell, and neither Node nor npm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    kept = {k: v for k, v in os.environ.items() if k in {"HOME", "TMPDIR"}}
    return {**kept, "PATH": str(folder), "PYTHON": sys.executable}


def test_the_command_of_the_scripts_starts_without_a_node_on_the_path(bare: dict[str, str]) -> None:
    assert shutil.which("node", path=bare["PATH"]) is None
    source = f"source {ROOT}/scripts/cloud.sh; environment=dev; tools; cdk --version"
    done = subprocess.run(
        ["bash", "-c", source], env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed, answered = done.stdout.splitlines()
    assert "scripts/cdk.py" in printed
    assert answered.startswith(f"{VERSION} ")


def test_what_is_locked_is_installed_once(tmp_path: Path) -> None:
    folder = node_package.installed(node_package.CDK, tmp_path)
    manifest = json.loads((folder / "node_modules/aws-cdk/package.json").read_text())
    assert manifest["version"] == VERSION
    (folder / "kept").touch()
    assert node_package.installed(node_package.CDK, tmp_path) == folder
    assert (folder / "kept").exists()


def test_other_bytes_than_those_that_were_locked_are_refused(tmp_path: Path) -> None:
    locked = tmp_path / "cdk"
    shutil.copytree(node_package.CDK, locked)
    lock = json.loads((locked / "package-lock.json").read_text())
    lock["packages"]["node_modules/aws-cdk"]["integrity"] = "sha512-" + "A" * 86 + "=="
    (locked / "package-lock.json").write_text(json.dumps(lock))
    with pytest.raises(node_package.NotInstalled, match="EINTEGRITY"):
        node_package.installed(locked, tmp_path / "build")
    assert [p.name for p in (tmp_path / "build").iterdir()] == [".cdk.lock"]


def test_without_a_registry_one_sentence_says_what_to_do(
    bare: dict[str, str], tmp_path: Path
) -> None:
    """In a copy of the scripts, where nothing was installed, before a port where nobody listens."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    environment = bare | {
        "PYTHONPATH": str(tmp_path),
        "npm_config_registry": "http://127.0.0.1:9/",
        "npm_config_cache": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [str(tmp_path / "scripts/deploy.sh"), "dev", "--yes"],
        env={**environment, "PATH": f"{bare['PATH']}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ECONNREFUSED" in done.stderr
    assert "run 'make setup' again where npm's registry can be reached" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("folder", LOCKS, ids=lambda f: f.name)
def test_locks_hold_a_hash_of_everything_and_no_registry(folder: Path) -> None:
    manifest = json.loads((folder / "package.json").read_text())
    lock = json.loads((folder / "package-lock.json").read_text())
    packages = lock["packages"]
    assert packages.pop("")["dependencies"] == manifest["dependencies"]
    for name, version in manifest["dependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
