"""deploy.sh and teardown.sh: what they run and in which order, what they refuse, when they stop.

The scripts really run; Python is a small program that notes how it was called. What it would have
run is tested elsewhere: the CDK's command in test_cdk_command.py, the others in test_cloud.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT

#: Answers what the scripts ask of Python, and notes the rest; fails where $FAILS says.
STUB = """#!/usr/bin/env bash
case "$0 $*" in
  *importlib.metadata*) exit 0 ;;
  *"cdk.py --version") [[ -z ${WITHOUT_CDK:-} ]] || { echo "$WITHOUT_CDK" >&2; exit 1; }; exit 0 ;;
  *"cloud.py account"*) echo 123456789012/eu-west-1; exit 0 ;;
  *"cloud.py gateway-role"*) echo "${ROLE:-}"; exit 0 ;;
  *"cloud.py retained"*) echo '[]' ;;
esac
echo "$(basename "$0") $*" >> "$CALLS"
if [[ -n ${FAILS:-} && "$*" == *"$FAILS"* ]]; then exit 1; fi
"""
CDK = "python scripts/cdk.py --app {python} app.py --context environment="
shells = pytest.mark.parametrize("script", ["deploy.sh", "teardown.sh"])


class Place:
    """A copy of the scripts, with a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.calls_file = folder / "calls"
        self.root = folder / "root"
        (self.root / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        for script in ("deploy.sh", "teardown.sh", "cloud.sh"):
            shutil.copy(ROOT / "scripts" / script, self.root / "scripts")
        (self.bin / "python").write_text(STUB)
        (self.bin / "python").chmod(0o755)

    def run(self, *command: str, said: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        script, *arguments = command
        return subprocess.run(
            ["bash", str(self.root / "scripts" / script), *arguments],
            input=said,
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "PYTHON": str(self.bin / "python"),
                "CALLS": str(self.calls_file),
                **more,
            },
        )

    @property
    def calls(self) -> list[str]:
        """What was run, without what is the same in every call of the CDK."""
        if not self.calls_file.exists():
            return []
        cdk = CDK.format(python=self.bin / "python")
        lines = self.calls_file.read_text().splitlines()
        plain = [line.replace(f"{cdk}dev", "cdk").replace(cdk, "cdk of ") for line in lines]
        return [line.replace("python scripts/", "") for line in plain]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


DEPLOYED = [
    "cdk bootstrap aws://123456789012/eu-west-1",
    "build_layers.py --unless-built",
    "cdk of account deploy vireo-account --require-approval never",
    "cdk deploy vireo-dev-images --exclusively --require-approval never",
    "cloud.py image dev",
    "cdk deploy --all --require-approval never",
    "cloud.py client dev",
    "cloud.py release dev",
    "cloud.py train dev",
    "cloud.py smoke dev",
]


def test_a_deployment_in_order(place: Place) -> None:
    done = place.run("deploy.sh", "dev", said="y\n")
    assert done.returncode == 0, done.stderr
    assert place.calls == DEPLOYED
    assert "account 123456789012, region eu-west-1" in done.stdout
    assert "What next" in done.stdout


def test_settings_of_the_account_are_left_to_who_has_them(place: Place) -> None:
    done = place.run("deploy.sh", "dev", "--yes", ROLE="arn:aws:iam::123456789012:role/theirs")
    assert done.returncode == 0, done.stderr
    assert place.calls == [call for call in DEPLOYED if "vireo-account" not in call]


def test_a_deployment_with_data_or_without_training(place: Place) -> None:
    (place.root / "my data").mkdir()
    done = place.run("deploy.sh", "dev", "--data", "my data", "--yes", "--no-train")
    assert done.returncode == 0, done.stderr
    imported = "import_dataset.py my data --environment dev"
    assert place.calls == [*DEPLOYED[:-2], imported]


def test_a_dry_run_prints_all_and_runs_what_needs_no_account(place: Place) -> None:
    done = place.run("deploy.sh", "prod", "--dry-run", AWS_PROFILE="somebody")
    assert done.returncode == 0, done.stderr
    planned, _, _ = done.stdout.partition("None of these was run")
    printed = [line for line in planned.splitlines() if line.startswith("+ ")]
    asked = [line for line in printed if line.endswith(("py account", "py gateway-role"))]
    steps = [line for line in printed if line not in asked]
    assert len(asked) == 2
    for step, line in zip(DEPLOYED[1:], steps[1:], strict=True):
        what = step.removeprefix("cdk ").removeprefix("of account ")
        assert line.endswith(what.replace("dev", "prod"))
    assert "environment=prod" in steps[0]
    packaged, synthesised, shown, once, once_shown = place.calls
    assert once == (
        "cdk of account synth --all --quiet --no-notices --output build/dry-run/prod-account"
    )
    assert once_shown == "plan.py build/dry-run/prod-account"
    assert packaged == "build_layers.py --unless-built"
    assert synthesised.endswith(
        "cdk of prod synth --all --quiet --no-notices --output build/dry-run/prod"
    )
    assert shown == "plan.py build/dry-run/prod"
    assert "is deployed" not in done.stdout


def test_a_dry_run_of_taking_down_runs_nothing(place: Place) -> None:
    erased = place.run("teardown.sh", "prod", "--with-data", "--dry-run")
    assert erased.returncode == 0
    assert place.calls == []
    assert "cloud.py erase build/retained-prod.json" in erased.stdout


@pytest.mark.parametrize("step", ["build_layers.py", "synth", "plan.py"])
def test_a_dry_run_that_finds_something_fails(place: Place, step: str) -> None:
    assert place.run("deploy.sh", "dev", "--dry-run", FAILS=step).returncode != 0
    assert step in place.calls[-1]


@pytest.mark.parametrize("number", range(len(DEPLOYED)))
def test_a_step_that_fails_ends_it(place: Place, number: int) -> None:
    fails = DEPLOYED[number].removeprefix("cdk ").removeprefix("of account ")
    done = place.run("deploy.sh", "dev", "--yes", FAILS=fails)
    assert done.returncode != 0
    assert place.calls == DEPLOYED[: number + 1]
    assert "What next" not in done.stdout


@shells
@pytest.mark.parametrize(
    "arguments", [[], ["test"], ["DEV"], ["dev", "prod"], ["--dry-run"], ["dev", "--datta", "x"]]
)
def test_what_is_no_environment_is_refused(place: Place, script: str, arguments: list[str]) -> None:
    done = place.run(script, *arguments, said="y\n")
    assert done.returncode == 2
    assert "usage: scripts/" in done.stderr
    assert place.calls == []


@shells
def test_missing_tools_are_named(place: Place, script: str) -> None:
    done = place.run(script, "dev", said="y\n", WITHOUT_CDK="It could not be installed.")
    assert done.returncode == 1
    assert done.stderr == "It could not be installed.\n"
    done = place.run(script, "dev", PYTHON="/nowhere/python")
    assert done.returncode == 1
    assert "make setup" in done.stderr
    assert place.calls == []


def test_there_must_be_data_and_a_yes(place: Place) -> None:
    assert "no folder" in place.run("deploy.sh", "dev", "--data", "nowhere").stderr
    for said in ("", "n\n", "\n"):
        done = place.run("deploy.sh", "dev", said=said)
        assert done.returncode == 1
        assert "Nothing was done" in done.stderr
    assert place.calls == []


def test_taking_down_keeps_data(place: Place) -> None:
    done = place.run("teardown.sh", "dev", said="dev\n")
    assert done.returncode == 0, done.stderr
    (destroyed,) = place.calls
    for part in ("monitoring", "api", "events", "training", "images", "recommender"):
        assert f" vireo-dev-{part} " in destroyed
    assert "vireo-dev-data" not in destroyed
    assert "network" not in destroyed
    assert "--exclusively" in destroyed


def test_taking_down_leaves_the_account_what_it_has_once(place: Place) -> None:
    for options, said in (([], "dev\n"), (["--with-data"], "erase dev\n")):
        assert place.run("teardown.sh", "dev", *options, said=said).returncode == 0
    assert not [call for call in place.calls if "account" in call]


def test_erasing_takes_the_whole_sentence(place: Place) -> None:
    for said in ("", "y\n", "dev\n", "erase prod\n"):
        assert place.run("teardown.sh", "dev", "--with-data", said=said).returncode == 1
    assert place.calls == []
    done = place.run("teardown.sh", "dev", "--with-data", said="erase dev\n")
    assert done.returncode == 0, done.stderr
    assert (place.root / "build/retained-dev.json").read_text() == "[]\n"
    assert place.calls == [
        "cloud.py retained dev",
        "cdk destroy --all --force --context packages=sources",
        "cloud.py erase build/retained-dev.json",
    ]


def test_scripts_are_clean() -> None:
    scripts = [
        *map(str, (ROOT / "scripts").glob("*.sh")),
        str(ROOT / ".ci/run"),
        str(ROOT / "lambdas/training/build.sh"),
    ]
    done = subprocess.run(
        ["shellcheck", *scripts], capture_output=True, text=True, check=False, env=_with_venv()
    )
    assert done.returncode == 0, done.stdout


def _with_venv() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
