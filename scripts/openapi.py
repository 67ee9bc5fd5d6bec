"""Writes docs/openapi.json from the routes, or with ``--check`` fails if it is stale."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import orjson

from services import build
from vireo.homes import local

PATH = Path(__file__).parent.parent / "docs" / "openapi.json"


def document() -> bytes:
    """The OpenAPI document of all routes; equal routes give equal bytes."""
    with tempfile.TemporaryDirectory() as folder:
        home = local.home(folder)
        try:
            routes = orjson.loads(build(home).get_openapi_json_schema())
        finally:
            home.close()
    return orjson.dumps(routes, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def main() -> None:
    """Write the document, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only check that it is up to date")
    options = parser.parse_args()
    if not options.check:
        PATH.write_bytes(document())
    elif PATH.read_bytes() != document():
        sys.exit("docs/openapi.json is stale: run `make openapi`")


if __name__ == "__main__":
    main()
