"""Shows, sets and removes what operators set: tuning, experiments and campaigns.

Processes follow within 30 seconds. What can be set, and the defaults: docs/settings.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson
from pydantic import ValidationError

from vireo.homes.chosen import add_options, chosen
from vireo.ports import Missing, Ports
from vireo.recommender.steering import controls


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says."""
    options = _options(arguments)
    try:
        with chosen(options) as home:
            ports = home.open(options.tenant)
            if options.put:
                print(f"{put(ports, options.kind, options.put)} is set; followed within 30 seconds")
            elif options.remove is not None:
                controls.remove(ports.records, options.kind, options.remove)
                print(f"{options.kind} {options.remove}".strip() + " is removed")
            else:
                print(shown(ports, options.kind))
    except (ValueError, Missing) as error:
        raise SystemExit(str(error)) from None


def put(ports: Ports, kind: str, path: Path) -> str:
    """Set what a JSON file, or standard input, says; returns its kind and name.

    Raises ValueError, naming each wrong field, if it cannot be set.
    """
    try:
        text = sys.stdin.read() if path == Path("-") else path.read_text()
        name = controls.put(ports.records, kind, orjson.loads(text))
    except OSError as error:
        raise ValueError(f"Nothing was set. {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ValueError("\n".join(["Nothing was set.", *wrong])) from None
    except orjson.JSONDecodeError as error:
        raise ValueError(f"Nothing was set. This is not JSON: {error}") from None
    return f"{kind} {name}".strip()


def shown(ports: Ports, kind: str) -> str:
    """All that is set of a kind, as JSON; rows that are not valid are as they are."""
    found = {name or kind: item for name, item in controls.rows(ports.records, kind)}
    return orjson.dumps(found, option=orjson.OPT_INDENT_2, default=str).decode()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(controls.KINDS), help="what to show or change")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--put", type=Path, metavar="FILE", help="set it from JSON; -: from stdin")
    change.add_argument(
        "--remove", nargs="?", const="", metavar="NAME", help="remove it; tuning has no name"
    )
    add_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
