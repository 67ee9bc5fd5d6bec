"""Removes the rows of erased people from the collected files, and shows the log of that.

Training does the same before it reads; this is for not waiting until then.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from vireo.homes.chosen import add_options, chosen
from vireo.training.data.purge import history, purge


def main(arguments: list[str] | None = None) -> None:
    """Purge, and print every purge there was."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    options = parser.parse_args(arguments)
    with chosen(options) as home:
        ports = home.open(options.tenant)
        purge(ports)
        for one in history(ports.records):
            at = datetime.fromtimestamp(one["at"], UTC).isoformat(timespec="seconds")
            print(
                f"{at}  {one['people']} people erased so far:"
                f" {one['rows']:,} rows gone from {one['files']} files"
            )


if __name__ == "__main__":
    main()
