"""Makes an earlier bundle serve again: the previous one, or the one that is named.

The bundle is fetched and verified first. Serving processes follow within 30 seconds. A second
rollback undoes the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.bundles.manifest import BundleRefused
from vireo.bundles.pointer import Pointer
from vireo.homes.chosen import add_options, chosen
from vireo.ports import Conflict, Missing, Ports, Table, Withdrawn
from vireo.recommender.contents import ModelBundle


def main(arguments: list[str] | None = None) -> None:
    """Move the pointer, and print the version before and after."""
    options = _options(arguments)
    try:
        with chosen(options) as home:
            ports = home.open(options.tenant)
            served, serves = roll_back(ports, options.to)
            if options.environment:
                _release(ports, serves.version)
    except BundleRefused as refused:
        raise SystemExit(f"Nothing was switched, that bundle is not whole: {refused}") from None
    except Missing as missing:
        raise SystemExit(f"Nothing was switched: {missing}") from None
    except Withdrawn as withdrawn:
        raise SystemExit(f"The pointer was moved, but: {withdrawn}") from None
    except Conflict:
        raise SystemExit("Nothing was switched: a deployment was faster. Look again.") from None
    print(f"{served.version} served; {serves.version} serves now.")


def roll_back(ports: Ports, version: str | None = None) -> tuple[Pointer, Pointer]:
    """Make ``version``, or the previous bundle, serve; returns the old and the new pointer.

    Raises:
        vireo.ports.Missing: no bundle serves, or there is none to go back to.
        vireo.bundles.manifest.BundleRefused: the bundle is incomplete or damaged.
        vireo.ports.Conflict: a deployment moved the pointer meanwhile.
    """
    served = pointer.current(ports.records)
    if served is None:
        raise Missing("no bundle serves")
    wanted = version or served.previous
    if wanted is None:
        raise Missing(f"{served.version} is the first bundle that serves")
    if ports.records.get(Table.REGISTRY, "models", wanted) is None:
        known = ", ".join(r.sort for r in ports.records.query(Table.REGISTRY, "models").records)
        raise Missing(f"the registry does not know {wanted}; it knows {known}")
    bundles.fetch(ports.blobs, wanted, Path(ports.scratch), ModelBundle)
    return served, pointer.switch(ports.records, wanted, expect=served)


def _release(ports: Ports, version: str) -> None:
    # Imported only when needed, because boto3 loads slowly.
    from vireo.homes.deployed import finish  # noqa: PLC0415

    finish(ports, version)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--to", metavar="VERSION", help="the bundle; by default the previous one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
