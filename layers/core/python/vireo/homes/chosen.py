"""The home chosen on a command line: a deployed environment, or a folder on a laptop."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vireo.homes.local import home as local_home
from vireo.homes.names import checked_tenant
from vireo.identity import reserved
from vireo.ports import Home, Refused


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--state``, ``--environment`` and ``--tenant``."""
    parser.add_argument("--state", type=Path, default=Path(".state"), help="the state folder")
    parser.add_argument(
        "--environment", choices=("dev", "staging", "prod"), help="a deployed environment"
    )
    add_tenant(parser)


def add_tenant(parser: argparse.ArgumentParser) -> None:
    """Add ``--tenant``, which no command takes for a name that is not a tenant's."""
    parser.add_argument("--tenant", default="default", type=_tenant)


def _tenant(name: str) -> str:
    try:
        if not reserved(name):
            return checked_tenant(name)
    except Refused:
        pass
    message = f"{name!r} is no tenant's name, which has 1 to 32 of a-z, 0-9 and -"
    raise argparse.ArgumentTypeError(message)


@contextmanager
def chosen(options: argparse.Namespace) -> Iterator[Home]:
    """The home that those options name. Raises `vireo.ports.Missing` if it is not deployed."""
    if options.environment:
        # Imported only when needed, because boto3 loads slowly.
        from vireo.homes.deployed import deployed  # noqa: PLC0415

        with deployed(options.environment) as there:
            yield there
    else:
        with closing(local_home(options.state)) as here:
            yield here
