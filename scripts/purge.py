"""Removes the rows of erased people from the collected files, and shows the log of that.

Training does the same before it reads; this is for not waiting until then.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from vireo.homes.local import home as local_home
from vireo.training.erasure import history, purge


def main(arguments: list[str] | None = None) -> None:
    """Purge, and print every purge there was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".state"), help="the state folder")
    parser.add_argument("--tenant", default="default")
    options = parser.parse_args(arguments)
    home = local_home(options.state)
    try:
        ports = home.open(options.tenant)
        purge(ports)
        for one in history(ports.records):
            at = datetime.fromtimestamp(one["at"], UTC).isoformat(timespec="seconds")
            print(
                f"{at}  {one['people']} people erased so far:"
                f" {one['rows']:,} rows gone from {one['files']} files"
            )
    finally:
        home.close()


if __name__ == "__main__":
    main()
