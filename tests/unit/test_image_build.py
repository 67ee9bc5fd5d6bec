"""What the account's build does: the base image is fetched once, and every image is made of it.

The script really runs; docker and aws are small programs that note how they were called.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "lambdas/training/build.sh"
OURS = "1.dkr.ecr.eu-west-1.amazonaws.com/training"
ORIGIN = "public.ecr.aws/lambda/python:3.13-arm64"
#: A registry of names: a pull of what nobody has pushed fails, but for what is public.
DOCKER = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
[[ -z ${FAILS:-} || "$*" != "$FAILS"* ]] || exit 1
case "$*" in
  "login "*) cat > "$PASSWORD" ;;
  "pull --platform"*) ;;
  "pull "*) grep -qxF "$2" "$REGISTRY" ;;
  "push "*) ! grep -qxF "$2" "$REGISTRY" && echo "$2" >> "$REGISTRY" ;;
esac
"""


class Account:
    """A repository, and a machine that builds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "registry").touch()
        for name, text in (("docker", DOCKER), ("aws", "#!/usr/bin/env bash\necho secret\n")):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def build(self, tag: str, fails: str = "") -> tuple[int, list[str]]:
        """Exit code, and what docker was asked to do."""
        calls = self.folder / "calls"
        calls.write_text("")
        own = {"REPOSITORY_URI": OURS, "IMAGE_TAG": tag, "CALLS": str(calls), "FAILS": fails}
        own |= {name.upper(): str(self.folder / name) for name in ("registry", "password")}
        done = subprocess.run(
            ["bash", str(SCRIPT)],
            env={"PATH": f"{self.folder}:{os.environ['PATH']}", **own},
            capture_output=True,
            check=False,
        )
        return done.returncode, calls.read_text().splitlines()

    @property
    def registry(self) -> list[str]:
        """What was pushed."""
        return (self.folder / "registry").read_text().split()


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def test_the_first_build_keeps_the_base_and_later_ones_are_made_of_it(account: Account) -> None:
    code, first = account.build("a")
    assert code == 0
    assert f"pull --platform linux/arm64 {ORIGIN}" in first
    assert account.registry == [f"{OURS}:base-1", f"{OURS}:a"]
    assert (account.folder / "password").read_text() == "secret\n"
    code, second = account.build("b")
    assert code == 0
    assert not [call for call in second if ORIGIN in call]
    assert account.registry == [f"{OURS}:base-1", f"{OURS}:a", f"{OURS}:b"]
    for tag, calls in (("a", first), ("b", second)):
        (built,) = [call for call in calls if call.startswith("build ")]
        assert f"--build-arg BASE={OURS}:base-1 --tag {OURS}:{tag} ." in built
        assert "--provenance=false --platform linux/arm64" in built


@pytest.mark.parametrize(
    "fails", ["login", f"pull --platform linux/arm64 {ORIGIN}", f"push {OURS}:base-1", "build"]
)
def test_a_build_that_goes_wrong_pushes_no_image(account: Account, fails: str) -> None:
    code, calls = account.build("a", fails)
    assert code != 0
    assert calls[-1].startswith(fails)
    assert f"{OURS}:a" not in account.registry


def test_the_build_is_what_the_project_starts() -> None:
    buildspec = (ROOT / "lambdas/training/buildspec.yml").read_text()
    (command,) = re.findall(r"^ +- (.*)$", buildspec, re.MULTILINE)
    assert command == f"bash {SCRIPT.relative_to(ROOT)}"
