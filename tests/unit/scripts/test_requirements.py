"""What set-up installs is locked: every version, every hash, no registry; and is what is here."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import build_layers
from tests.sources import ROOT, pins

LOCKS = [ROOT / "requirements.lock", *ROOT.glob("l*/*/requirements.lock")]
#: As packaging calls what runs in Lambda.
LAMBDA = {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "linux"}
LAMBDA |= {"platform_machine": "aarch64", "implementation_name": "cpython"}
LAMBDA |= {"platform_python_implementation": "CPython"}


def locked(path: Path) -> dict[Requirement, list[str]]:
    """What a lock has, with its hashes."""
    lines = path.read_text().replace("\\\n", "").splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            found[Requirement(requirement)] = hashes
    return found


def versions(path: Path, environment: dict[str, str] | None = None) -> dict[str, str]:
    """The version of everything that a lock has for a machine: by default for this one."""
    return {
        canonicalize_name(wanted.name): str(wanted.specifier).removeprefix("==")
        for wanted in locked(path)
        if wanted.marker is None or wanted.marker.evaluate(environment)
    }


@pytest.mark.parametrize("path", LOCKS, ids=lambda p: p.parent.name)
def test_a_lock_has_hashes_and_names_no_registry(path: Path) -> None:
    assert len(LOCKS) == 3
    for wanted, hashes in locked(path).items():
        assert re.fullmatch(r"==[^,*]+", str(wanted.specifier)), wanted
        assert hashes, wanted
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), wanted
    text = path.read_text()
    assert not re.search(r"//|--index|--extra|--find|--trusted", text)


def test_the_lock_has_what_is_required() -> None:
    lock = versions(ROOT / "requirements.lock")
    for name, pinned in pins(ROOT / "requirements.txt").items():
        assert lock[canonicalize_name(name)] == pinned, f"{name}: run `make lock`"


def test_what_is_installed_is_what_is_locked_and_needs_nothing_else() -> None:
    """Whatever a package needs here, of the extras that are asked for, is in the lock, too."""
    lock = versions(ROOT / "requirements.lock")
    asked = [Requirement(line) for line in _lines(ROOT / "requirements.txt")]
    seen: set[tuple[str, str]] = set()
    while asked:
        wanted = asked.pop()
        name = canonicalize_name(wanted.name)
        assert name in lock, f"{wanted} is not locked: run `make lock`"
        try:
            assert version(name) == lock[name], f"{name}: run `make setup`"
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed: run `make setup`", pytrace=False)
        for extra in ("", *wanted.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                needs = map(Requirement, distribution(name).requires or ())
                context = {"extra": extra}
                asked += [n for n in needs if n.marker is None or n.marker.evaluate(context)]
    assert {name for name, _ in seen} == lock.keys(), "the lock has more than is needed"


@pytest.mark.parametrize("folder", [build_layers.SERVING, build_layers.TRAINING])
def test_lambda_runs_the_versions_that_are_tested_on_a_laptop(folder: Path) -> None:
    laptop = versions(ROOT / "requirements.lock", LAMBDA)
    assert versions(folder / "requirements.lock").items() <= laptop.items()


def _lines(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]
