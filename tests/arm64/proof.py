"""Runs the built ARM64 layers under emulation and compares every answer with this machine's own.

A world of `VIDEOS` generated videos with an inverted index and a trained ranker is made natively.
The requests then go through the routes twice, each time in a copy of that home: with this machine's
Python and packages, and with ``build/core`` and ``build/serving`` in Debian's Python for ARM64.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.events import event_of
from tests.bench.world import world

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
CACHE = BUILD / "arm64-proof"
#: Debian with Python 3.13; the runtime of Lambda itself is to be had as a container image only.
SUITE, PACKAGES, PYTHON = "trixie", "python3,libgomp1", "usr/bin/python3.13"
TOOLS = {
    "qemu-aarch64-static": "qemu-user-static",
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "fakeroot": "fakeroot",
}
#: Above `vireo.vectors.FLAT_BELOW`, so that the index is an inverted file.
VIDEOS, VIEWERS = 30_000, 40
#: How far two scores may be apart.
TOLERANCE = 1e-5


def main() -> None:
    """Prove it, or say what is missing or differs."""
    _check_tools()
    for layer in ("core", "serving"):
        if not (BUILD / layer).is_dir():
            raise SystemExit("The layers are not built: run `make layers`.")
    emulated = [shutil.which("qemu-aarch64-static") or "", "-L", str(root()), str(root() / PYTHON)]
    print(f"A world of {VIDEOS:,} videos, trained here …", flush=True)
    made = world(VIDEOS, CACHE)
    made.home.close()
    requests = asked(made.users[:VIEWERS])
    layers = [BUILD / "core/python", BUILD / "serving/python", ROOT / "lambdas"]
    own = [ROOT / "layers/core/python", ROOT / "lambdas"]
    here = answers([sys.executable], own, made.home.folder, requests)
    there = answers(emulated, layers, made.home.folder, requests)
    if there["who"]["machine"] != "aarch64" or str(BUILD) not in there["who"]["numpy"]:
        raise SystemExit(f"That was not the built package: {there['who']}")
    largest = compare(requests, here["answers"], there["answers"])
    for who, seconds in ((here["who"], here["seconds"]), (there["who"], there["seconds"])):
        print(f"  {who['machine']}, Python {who['python']}: {seconds:.1f} s")
    print(f"{len(requests)} answers are the same; scores differ by {largest:.1e} at most.")


def _check_tools() -> None:
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise SystemExit(
            f"Missing: {', '.join(missing)}. On Debian and Ubuntu: "
            f"apt-get install {' '.join(missing)} debian-archive-keyring"
        )


def root() -> Path:
    """Debian for ARM64, unpacked into a folder: nothing in it is installed or run but Python."""
    folder = CACHE / f"{SUITE}-arm64"
    if (folder / PYTHON).exists():
        return folder
    print("Debian's Python for ARM64 …", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        fetched, unpacked = Path(scratch, "fetched"), Path(scratch, "unpacked")
        command = ["debootstrap", "--foreign", "--arch=arm64", "--variant=minbase"]
        command += [f"--include={PACKAGES}", SUITE, str(fetched)]
        if os.getuid():  # it asks for root, but does nothing here that needs it
            command.insert(0, "fakeroot")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"debootstrap failed:\n{(done.stdout + done.stderr)[-2000:]}")
        for package in sorted(fetched.glob("var/cache/apt/archives/*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
        unpacked.rename(folder)
    return folder


def asked(users: list[str]) -> list[dict[str, Any]]:
    """Requests to every kind of route, some of which change what later ones see."""
    requests = [_request("POST", "/v1/recommendations", _body(j, u)) for j, u in enumerate(users)]
    requests += [_request("POST", "/v1/recommendations", {"user_id": "nobody", "limit": 20})]
    requests += [
        _request("GET", "/v1/trending"),
        _request("GET", "/v1/videos/video-00000007/similar"),
        _request("GET", "/v1/videos/nothing/similar"),
        _request("PUT", "/v1/videos/new", {"title": "Ein neues Video", "category": "category 3"}),
        _request("PUT", "/v1/users/new", {"age": 33, "country": "DE"}),
        _request("DELETE", "/v1/videos/video-00000007"),
        _request("POST", "/v1/recommendations", _body(1, "new"), advance=15.0),
        _request("GET", "/v1/videos/new/similar"),
        _request("GET", "/v1/users/new"),
        _request("POST", "/v1/recommendations", {"limit": 3}),
    ]
    return requests


def _body(number: int, user: str) -> dict[str, Any]:
    body: dict[str, Any] = {"user_id": user, "limit": 20, "context": {"device": "phone"}}
    if number % 3 == 1:
        body["context"] = {"device": "tv", "country": "DE", "language": "de"}
    if number % 4 == 2:
        watched = [{"video_id": f"video-{number * 31 + j:08d}", "seconds": 90} for j in range(3)]
        body["session"] = watched
    return body


def _request(method: str, path: str, body: Any = None, advance: float = 0.0) -> dict[str, Any]:
    event = event_of("", 0) | {"httpMethod": method, "path": path}
    event["body"] = None if body is None else json.dumps(body)
    scopes = ["recommend", "catalogue.read", "catalogue.write", "users.read", "users.write"]
    claims = event["requestContext"]["authorizer"]["claims"]
    claims["scope"] = " ".join(f"vireo/{scope}" for scope in scopes)
    return {"event": event, "advance": advance}


def answers(
    python: list[str], path: list[Path], home: Path, requests: list[dict[str, Any]]
) -> dict[str, Any]:
    """What `tests.arm64.answers` says in a copy of the home, and the seconds that it took."""
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        copy = shutil.copytree(home, Path(scratch, "home"))
        shutil.rmtree(copy / "scratch", ignore_errors=True)
        began = time.monotonic()
        done = subprocess.run(
            [*python, "-P", str(Path(__file__).with_name("answers.py")), str(copy)],
            input=json.dumps(requests),
            env={"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{python[-1]} ended with {done.returncode}.")
        said: dict[str, Any] = json.loads(done.stdout)
        return said | {"seconds": time.monotonic() - began}


def compare(requests: list[Any], here: list[Any], there: list[Any]) -> float:
    """The largest difference of two scores. Raises SystemExit at the first answer that differs."""
    largest = 0.0
    for request, ours, theirs in zip(requests, here, there, strict=True):
        scores, plain = _split(ours)
        others, plain_there = _split(theirs)
        if plain != plain_there or ours["body"].get("degraded"):
            raise SystemExit(f"{request['event']}\nhere:  {ours}\nthere: {theirs}")
        gaps = [_gap(a, b) for a, b in zip(scores, others, strict=True)]
        largest = max([largest, *gaps])
        if largest > TOLERANCE:
            raise SystemExit(f"{request['event']}\nscores differ by {largest:.1e}")
    if not largest and not any(_split(ours)[0] for ours in here):
        raise SystemExit("No answer had a score.")
    return largest


def _gap(a: float | None, b: float | None) -> float:
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return abs(a - b)


def _split(answer: dict[str, Any]) -> tuple[list[float | None], dict[str, Any]]:
    """The scores, and the answer without them."""
    items = answer["body"].get("items", [])
    bare = [{k: v for k, v in item.items() if k != "score"} for item in items]
    body = answer["body"] | ({"items": bare} if items else {})
    return [item["score"] for item in items], answer | {"body": body}


if __name__ == "__main__":
    main()
