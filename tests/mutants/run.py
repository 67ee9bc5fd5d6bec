"""Whether tests notice: a sample of mutants of the modules that must not be wrong, each tried.

A mutant is killed if one of the tests that run its line fails, or does not come to an end. Every
line's tests are found out once (which takes as long as the tests), then each mutant runs in a copy
of the tree with its own tests, the quickest first, up to a minute's worth. Results are lines of
JSON, and a run that was interrupted goes on: `make mutants`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

import coverage

from tests.mutants.mutations import Mutant, mutants, mutated
from tests.sources import PACKAGE, ROOT, modules
from vireo.intervals import wilson

#: What is mutated, in `vireo`: files, and folders with all below them.
SUBJECTS = (
    "api.py",
    "identity.py",
    "projection.py",
    "recommender/serving.py",
    "catalogue/updates.py",
    "events/tracking.py",
    "events/intake.py",
    "homes",
)
#: Tests of one process; those of others are not seen by coverage.
TESTS = ("tests/unit", "tests/contract", "tests/infra")
#: Seconds: of a mutant's tests as they were without it, and that it may take besides twice those.
BUDGET, PATIENCE = 60.0, 60.0
KILLED, SURVIVED, UNCOVERED = "killed", "survived", "uncovered"

Tests = dict[str, float]  # by node id: seconds


def main() -> None:
    """Try what has not been tried yet, and say how many were killed."""
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    measured = options.folder / "coverage"
    if not measured.exists():
        _measure(measured, options.folder / "seconds.json")
    known = _Known(measured, json.loads((options.folder / "seconds.json").read_text()))
    sample = _sample(options.mutants, options.seed)
    results = options.folder / "results.jsonl"
    found = _read(results)
    _try([m for m in sample if m.name not in found], known, results, options, len(sample))
    print(told([_read(results)[m.name] for m in sample if m.name in _read(results)], sample))


def told(fates: Sequence[str], sample: Sequence[Mutant]) -> str:
    """The share of the killed, with its interval."""
    killed = fates.count(KILLED)
    low, high = wilson(killed, len(fates))
    share = killed / max(1, len(fates))
    return (
        f"{killed} of {len(fates)} mutants killed: {share:.1%} [{low:.1%}, {high:.1%}]; "
        f"{fates.count(SURVIVED)} survived, {fates.count(UNCOVERED)} are run by no test; "
        f"{len(sample) - len(fates)} of the sample are left"
    )


class _Known:
    """What is known of tests: which run a line, and how long each takes."""

    def __init__(self, measured: Path, seconds: Tests) -> None:
        self._seconds = seconds
        self._data = coverage.CoverageData(basename=str(measured))
        self._data.read()
        self._lines: dict[str, dict[int, list[str]]] = {}

    def tests(self, mutant: Mutant) -> Tests:
        """The tests of a mutant's line, the quickest first, up to the budget; one at least."""
        path = str(ROOT / mutant.path)
        if path not in self._lines:
            self._lines[path] = self._data.contexts_by_lineno(path)
        names = {n for n in self._lines[path].get(mutant.line, []) if n in self._seconds}
        chosen: Tests = {}
        for name in sorted(names, key=lambda n: (self._seconds[n], n)):
            if chosen and sum(chosen.values()) + self._seconds[name] > BUDGET:
                break
            chosen[name] = self._seconds[name]
        return chosen


def _measure(measured: Path, seconds: Path) -> None:
    beside = measured.with_suffix(".new")
    command = [sys.executable, "-m", "coverage", "run", f"--data-file={beside}", "-m", "pytest"]
    command += ["-p", "tests.mutants.witness", *TESTS]
    environment = os.environ | {"VIREO_TOOK": str(seconds)}
    # A test that fails is no witness, which is found out when it is needed; the others are.
    seconds.unlink(missing_ok=True)
    subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if not seconds.exists():
        raise SystemExit("The tests did not come to an end: nothing is known of what they run.")
    beside.rename(measured)


def _sample(number: int, seed: int) -> list[Mutant]:
    every: list[Mutant] = []
    for subject in SUBJECTS:
        place = PACKAGE / subject
        for path in modules(place) if place.is_dir() else [place]:
            every += mutants(path.relative_to(ROOT).as_posix(), path.read_text())
    return random.Random(seed).sample(every, min(number, len(every)))


def _try(
    waiting: Sequence[Mutant],
    known: _Known,
    results: Path,
    options: argparse.Namespace,
    number: int,
) -> None:
    trees: SimpleQueue[Path] = SimpleQueue()
    for worker in range(options.workers):
        trees.put(_copied(options.folder / f"tree-{worker}"))
    began, fates = monotonic(), Counter[str]()
    with results.open("a") as file, ThreadPoolExecutor(options.workers) as pool:
        tried = pool.map(lambda m: (m, _fate(m, known.tests(m), trees)), waiting)
        for done, (mutant, fate) in enumerate(tried, 1):
            file.write(json.dumps({"mutant": mutant.name, "fate": fate}) + "\n")
            file.flush()
            fates[fate] += 1
            left = (monotonic() - began) / done * (len(waiting) - done)
            tale = f"{number - len(waiting) + done}/{number}, {left / 60:.0f} min left"
            print(f"{tale}: {fate:<9} {mutant.name}", file=sys.stderr, flush=True)


def _fate(mutant: Mutant, tests: Tests, trees: SimpleQueue[Path]) -> str:
    """Try one in a free tree. A test that fails there without it, too, kills nothing."""
    tree = trees.get()
    path = tree / mutant.path
    source = path.read_text()
    try:
        while tests:
            path.write_text(mutated(source, mutant))
            failed = _failure(tests, tree)
            path.write_text(source)
            if failed is None:
                return SURVIVED
            if failed not in tests or _is_sound(failed, tests[failed], tree):
                return KILLED
            del tests[failed]
        return UNCOVERED
    finally:
        path.write_text(source)
        trees.put(tree)


_SOUND: dict[str, bool] = {}


def _is_sound(test: str, seconds: float, tree: Path) -> bool:
    """Whether a test passes in a tree that nothing was done to."""
    if test not in _SOUND:
        _SOUND[test] = _failure({test: seconds}, tree) is None
    return _SOUND[test]


def _failure(tests: Tests, tree: Path) -> str | None:
    """The first of those tests that fails; "" if they never end, None if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [*command, *tests],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=PATIENCE + 2 * sum(tests.values()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ""
    if process.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
    return found[1] if found else ""


def _copied(tree: Path) -> Path:
    """The sources as they are, without what is built or hidden."""
    shutil.rmtree(tree, ignore_errors=True)
    hidden = shutil.ignore_patterns(".*", "build", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=hidden)
    return tree


def _read(results: Path) -> dict[str, str]:
    """Fates by name; a last line that was cut off is left out."""
    found = {}
    for line in results.read_text().splitlines() if results.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[row["mutant"]] = row["fate"]
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=400, help="size of the sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "mutants")
    return parser.parse_args()


if __name__ == "__main__":
    main()
