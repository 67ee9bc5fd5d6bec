"""What a step of training takes, by number of events: seconds, CPU seconds and peak memory.

Logs are generated and stored as they are collected, and every step runs in a process of its own, as
the state machine runs it: `python -m tests.bench.training --events 300000 1000000`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from vireo.homes.local import LocalHome
from vireo.jobs.progress import silent
from vireo.training import generator
from vireo.training.data.collected import into_home
from vireo.training.run import Run
from vireo.training.steps import TRAINING

#: In order; the first two models do not need each other.
STEPS = ("preprocess", "two_tower", "ranker", "evaluate", "deploy")


def main() -> None:
    """Print a line for every step and number of events."""
    options = _options()
    if options.step:
        print(json.dumps(_step(options.folder, options.step)))
        return
    print(f"{'events':>12}  {'step':<11}{'seconds':>9}{'CPU s':>9}{'peak MB':>9}")
    for events in options.events:
        with TemporaryDirectory() as folder:
            _store(Path(folder), events)
            for step in options.steps:
                found = _measured(folder, step)
                figures = "".join(f"{found[name]:9.0f}" for name in ("seconds", "cpu", "peak"))
                print(f"{events:>12,}  {step:<11}{figures}", flush=True)


def _store(folder: Path, events: int) -> None:
    """Generate a log with the proportions of the default one, and put it into a home."""
    share = events / 300_000
    videos, viewers = int(10_000 * min(share, 10)), int(2000 * share)
    home = LocalHome(folder)
    into_home(generator.generate(generator.Settings(viewers, videos, events)), home.open("default"))
    home.close()
    (folder / "run.json").write_text(Run(run_id="bench", tenant="default").model_dump_json())


def _measured(folder: str, step: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.training", "--step", step, "--folder", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _step(folder: Path, step: str) -> dict[str, float]:
    """Run one step of the run that is in the folder, and measure this process."""
    document = Run.model_validate_json((folder / "run.json").read_text())
    home = LocalHome(folder)
    began = time.monotonic()
    done = TRAINING.steps[step](document, home.open("default"), silent)
    seconds = time.monotonic() - began
    home.close()
    (folder / "run.json").write_text(done.model_dump_json())
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss / 1024,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[300_000])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
