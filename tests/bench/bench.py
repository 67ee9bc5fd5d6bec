"""How fast a request is, as ratios to the bare kernels that were run between the same requests.

Seconds depend on the machine and on who else uses it; a ratio of CPU times taken in turns does so
much less. See docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
for _variable in ONE_THREAD:
    os.environ[_variable] = "1"  # before numpy and FAISS read it

import numpy as np  # noqa: E402 - as all that follows: it loads numpy
import orjson  # noqa: E402

from tests.bench import cold, feedback, figures  # noqa: E402
from tests.bench.stages import Bench  # noqa: E402
from tests.bench.world import world  # noqa: E402
from vireo.recommender.candidates import encode_viewer  # noqa: E402
from vireo.vectors import best, rows_in  # noqa: E402

#: Viewers whose search is compared with an exact one.
RECALLED, AT = 100, 300


def main() -> int:
    """Measure, print, write; 1 when ``--strict`` and a target is missed."""
    arguments = _arguments()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    found = measure(arguments.videos, arguments.requests, arguments.cache)
    found["targets"] = figures.targets(found)
    print(figures.table(found))
    _say(f"written to {arguments.out}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(
        orjson.dumps(found, default=asdict, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    )
    return int(arguments.strict and not all(t.met for t in found["targets"]))


def measure(sizes: list[int], requests: int, cache: Path) -> dict[str, Any]:
    """Everything, for worlds of those sizes."""
    for n in sizes:
        _say(f"world of {n:,} videos")
        world(n, cache).home.close()
    _say("new processes")
    imports, processes = cold.measure(sizes, cache)
    _say("warming up")
    benches = {n: Bench(world(n, cache), cache, requests) for n in sizes}
    rounds: dict[int, list[dict[str, float]]] = {n: [] for n in sizes}
    for number in range(requests):
        if number % 100 == 0:
            _say(f"request {number} of {requests}")
        for n, bench in benches.items():
            rounds[n].append(bench.measure(number))
    worlds = {}
    for n, bench in benches.items():
        _say(f"recall at {n:,} videos")
        times = figures.timings(rounds[n])
        worlds[str(n)] = {
            "timings": times,
            "recall": recall(bench),
            "per second": 1e3 / (times["handler"].mean + times["store"].mean),
            "process": processes[n],
            "bytes": cold.sizes(n, cache),
        }
    _say("the consumer of events")
    return {
        "feedback": feedback.measure(),
        "machine": f"{os.cpu_count()} {platform.machine()} cores",
        "requests": requests,
        "imports": imports,
        "layer": cold.layer(),
        "worlds": worlds,
    }


def recall(bench: Bench) -> dict[str, float]:
    """Share of the exactly best `AT` that the index finds, with viewers' bitmaps and without."""
    index = bench.snapshot.index
    assert index is not None
    hits: dict[str, list[float]] = {"filtered": [], "unfiltered": []}
    everything = np.arange(len(index), dtype=np.int32)
    vectors = np.ascontiguousarray(index.vectors)
    for user in bench.users[:RECALLED]:
        request = bench.request(user)
        query = encode_viewer(request)
        assert query is not None
        scores = vectors @ query
        for way, bits in (("filtered", request.eligible), ("unfiltered", None)):
            rows = everything if bits is None else rows_in(bits)
            exact = best(rows, scores[rows], AT)[0]
            hits[way].append(float(np.isin(exact, index.search(query, AT, bits)[0]).mean()))
    return {way: float(np.mean(values)) for way, values in hits.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--strict", action="store_true", help="fail when a target is missed")
    return parser.parse_args()


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
