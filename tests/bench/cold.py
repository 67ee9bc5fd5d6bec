"""What a new process costs: imports, loading a bundle, and memory. Each is measured in its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from tests.bench.events import VIEWERS, BenchClock, event_of, folder_of

#: As `recommend.handler` does it; the second with the SDK.
IMPORTS = {
    "numpy": "import numpy",
    "request path": "import gc; gc.disable(); import recommend.app, vireo.homes.local",
    "request path in AWS": "import gc; gc.disable(); import recommend.app, vireo.homes.aws",
}
REPEATS = 9
MB = 1e6
#: What the serving layer installs; what they need in turn is found by their metadata.
LAYER = Path("layers/serving/requirements.txt")


def imports() -> dict[str, float]:
    """CPU seconds of the imports, in turns; the median of a few."""
    taken: dict[str, list[float]] = {name: [] for name in IMPORTS}
    _python("-c", "; ".join(IMPORTS.values()))  # compiled now, as a layer is when it is built
    for _ in range(REPEATS):
        for name, statement in IMPORTS.items():
            code = f"from time import process_time as t; s = t(); {statement}; print(t() - s)"
            taken[name].append(float(_python("-c", code)))
    return {name: median(values) for name, values in taken.items()}


def load(n: int, cache: Path) -> dict[str, float]:
    """CPU seconds until the first answer with n videos, and bytes of memory.

    Returns ``fetched`` (the bundle is downloaded and verified), ``loaded`` (it is in the scratch
    folder, as for every later process of the machine), and of the latter ``rss`` and the part of
    it that is no file's pages (``own``), after the first answer and after many.
    """
    shutil.rmtree(folder_of(n, cache) / "scratch", ignore_errors=True)
    runs = [json.loads(_python("-m", "tests.bench.cold", str(n), str(cache))) for _ in range(4)]
    again = runs[1:]
    memory = {name: again[0][name] for name in ("rss", "own", "rss after", "own after")}
    return {"fetched": runs[0]["cpu"], "loaded": median(r["cpu"] for r in again), **memory}


def sizes(n: int, cache: Path) -> dict[str, float]:
    """Bytes of the bundle, in all and of its largest parts."""
    folder = folder_of(n, cache) / "scratch"
    found: dict[str, float] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            relative = path.relative_to(folder).parts  # tenant, "bundles", version, file…
            part = relative[3].removesuffix(".npy")
            found[part] = found.get(part, 0) + path.stat().st_size
    return {"bundle": sum(found.values()), **dict(sorted(found.items(), key=lambda f: -f[1]))}


def layer() -> float:
    """Bytes of the installed packages that the serving layer needs, as they are on this machine."""
    wanted = [line.partition("==")[0] for line in LAYER.read_text().splitlines()]
    waiting = [name for name in wanted if name and not name.startswith("#")]
    seen: set[str] = set()
    total = 0.0
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        package = importlib.metadata.distribution(name)
        files = [Path(str(file.locate())) for file in package.files or []]
        total += sum(file.stat().st_size for file in files if file.is_file())
        waiting += [_name(needed) for needed in package.requires or [] if ";" not in needed]
    return total


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found[0]


def _python(*arguments: str) -> str:
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | one_thread | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _memory() -> tuple[float, float]:
    """Resident bytes, and those of them that are not pages of files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    rss, own = (float(status[k].split()[0]) * 1024 for k in ("VmRSS", "RssAnon"))
    return rss, own


def _child(n: int, cache: Path) -> dict[str, Any]:
    """In a process of its own: load, then ask."""
    from recommend.app import build
    from vireo.homes.local import home

    opened = home(folder_of(n, cache), clock=BenchClock())
    api = build(opened)
    began = process_time()
    api.resolve(event_of("viewer-0", 0), None)
    spent = process_time() - began
    rss, own = _memory()
    for number in range(VIEWERS):
        api.resolve(event_of(f"viewer-{number}", number), None)
    rss_after, own_after = _memory()
    return {"cpu": spent, "rss": rss, "own": own, "rss after": rss_after, "own after": own_after}


if __name__ == "__main__":
    print(json.dumps(_child(int(sys.argv[1]), Path(sys.argv[2]))))
