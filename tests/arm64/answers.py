"""Answers requests from a home as the function does: run natively and under emulation.

Imports nothing but what the layers have. Reads a list of requests from standard input, writes the
list of answers.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from recommend.app import build
from vireo.homes.clock import MovableClock
from vireo.homes.local import home as local_home
from vireo.recommender import serving

#: An emulator is slow: a request waits for what changed since the last (seconds), and one that did
#: not get the viewer's record in time is asked again, so often.
PATIENCE, TRIES = 600.0, 50


def main() -> None:
    """Answer what is asked."""
    serving.BRIEFLY = serving.AT_MOST = PATIENCE
    clock = MovableClock()
    opened = local_home(Path(sys.argv[1]), clock=clock)
    api = build(opened)
    answers = []
    for request in json.load(sys.stdin):
        clock.advance(request["advance"])
        for _ in range(TRIES):
            answer = api.resolve(request["event"], None)
            body = json.loads(answer["body"])
            if not body.get("degraded"):
                break
        answers.append({"status": answer["statusCode"], "body": body})
    opened.close()
    print(json.dumps({"who": _who(), "answers": answers}))


def _who() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": str(Path(np.__file__).parent),
    }


if __name__ == "__main__":
    main()
