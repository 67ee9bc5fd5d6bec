"""What a new process costs: imports, loading a bundle, and memory. Each is measured in its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import process_time

from tests.bench.events import VIEWERS, BenchClock, event_of, folder_of

#: As `recommend.handler` does it; then with the SDK, and with the client of a cache.
IMPORTS = {
    "numpy": "import numpy",
    "request path": "import gc; gc.disable(); import recommend.app, vireo.homes.local",
    "request path in AWS": "import gc; gc.disable(); import recommend.app, vireo.homes.aws",
    "request path in AWS, with a cache": (
        "import gc; gc.disable(); import recommend.app, vireo.homes.aws, vireo.homes.aws.sign_in"
    ),
}
#: As functions have it: bytecode as in the layers, and no search for plugins.
AS_DEPLOYED = {"PYTHONDONTWRITEBYTECODE": "", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
REPEATS = 9
MB = 1e6
#: What the serving layer installs; what they need in turn is found by their metadata.
LAYER = Path("layers/serving/requirements.txt")


Figures = dict[str, float]


def measure(sizes: Sequence[int], cache: Path) -> tuple[Figures, dict[int, Figures]]:
    """CPU seconds of the imports and, by number of videos, of loading; medians, taken in turns.

    Loading is until the first answer, without the imports: ``fetched`` (the bundle is downloaded
    and verified) and ``loaded`` (it is in the scratch folder, as for every later process of the
    machine). Of the latter also bytes of memory: ``rss`` and the part of it that is no file's pages
    (``own``), after the first answer and after many.
    """
    found = {n: _fetched(n, cache) for n in sizes}
    taken: dict[str, list[float]] = {name: [] for name in IMPORTS}
    loaded: dict[int, list[float]] = {n: [] for n in sizes}
    _python("-c", "; ".join(IMPORTS.values()))  # compiled now, as a layer is when it is built
    for _ in range(REPEATS):
        for name, statement in IMPORTS.items():
            code = f"from time import process_time as t; s = t(); {statement}; print(t() - s)"
            taken[name].append(float(_python("-c", code)))
        for n in sizes:
            loaded[n].append(_asked(n, cache, 1)["cpu"])
    for n in sizes:
        found[n] |= {"loaded": median(loaded[n])}
    return {name: median(values) for name, values in taken.items()}, found


def _fetched(n: int, cache: Path) -> Figures:
    """What the first process of a machine takes, and the memory of the next."""
    shutil.rmtree(folder_of(n, cache) / "scratch", ignore_errors=True)
    fetched = _asked(n, cache, 1)["cpu"]
    many = _asked(n, cache, VIEWERS)
    return {"fetched": fetched} | {k: many[k] for k in ("rss", "own", "rss after", "own after")}


def _asked(n: int, cache: Path, requests: int) -> dict[str, float]:
    found: dict[str, float] = json.loads(
        _python("-m", "tests.bench.cold", str(n), str(cache), str(requests))
    )
    return found


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
    path = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | ONE_THREAD | AS_DEPLOYED | path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _memory() -> tuple[float, float]:
    """Resident bytes, and those of them that are not pages of files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    rss, own = (float(status[k].split()[0]) * 1024 for k in ("VmRSS", "RssAnon"))
    return rss, own


def _child(n: int, cache: Path, requests: int) -> dict[str, float]:
    """In a process of its own: load and answer once, then that many times more."""
    from recommend.app import build
    from vireo.homes.local import home

    began = process_time()
    api = build(home(folder_of(n, cache), clock=BenchClock()))
    api.resolve(event_of("viewer-0", 0), None)
    spent = process_time() - began
    rss, own = _memory()
    for number in range(requests):
        api.resolve(event_of(f"viewer-{number}", number), None)
    rss_after, own_after = _memory()
    return {"cpu": spent, "rss": rss, "own": own, "rss after": rss_after, "own after": own_after}


if __name__ == "__main__":
    print(json.dumps(_child(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
