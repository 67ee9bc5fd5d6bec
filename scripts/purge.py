"""Removes events of erased people from the collected files, and prints the log of such removals.

Training does this, too, before it reads the files; this command need not wait for it.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from vireo.homes.chosen import add_options, chosen
from vireo.training.data.purge import history, purge


def main(arguments: list[str] | None = None) -> None:
    """Purge, and print the log of all purges."""
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
