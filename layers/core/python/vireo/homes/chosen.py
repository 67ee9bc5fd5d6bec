"""The home chosen on a command line: a deployed environment, or a folder on a laptop."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from vireo.homes.local import LocalHome
from vireo.homes.local import home as local_home
from vireo.homes.local.disk import Unusable
from vireo.homes.names import checked_tenant
from vireo.identity import reserved
from vireo.ports import Refused, Unavailable

if TYPE_CHECKING:
    from vireo.homes.aws import AwsHome


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--state``, ``--environment`` and ``--tenant``."""
    add_home(parser)
    add_tenant(parser)


def add_home(parser: argparse.ArgumentParser) -> None:
    """Add ``--state`` and ``--environment``."""
    parser.add_argument("--state", type=Path, default=Path(".state"), help="the state folder")
    parser.add_argument(
        "--environment", choices=("dev", "staging", "prod"), help="a deployed environment"
    )


def add_tenant(parser: argparse.ArgumentParser) -> None:
    """Add ``--tenant``, which no command takes for a name that is not a tenant's."""
    parser.add_argument("--tenant", default="default", type=tenant_name)


def tenant_name(name: str) -> str:
    """The name, as the ``type`` of an option, if a tenant can have it."""
    try:
        if not reserved(name):
            return checked_tenant(name)
    except Refused:
        pass
    message = f"{name!r} is no tenant's name, which has 1 to 32 of a-z, 0-9 and -"
    raise argparse.ArgumentTypeError(message)


def json_file(name: str) -> dict[str, Any]:
    """The object in a JSON file, as the ``type`` of an option: what is wrong is told at once."""
    try:
        found = orjson.loads(Path(name).read_bytes())
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{name} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{name} has to be an object, with names and values")
    return found


def opened(folder: Path, **options: Any) -> LocalHome:
    """The home in a folder, for a command. Raises SystemExit, with a sentence, if it cannot be."""
    with usable(folder):
        return local_home(folder, **options)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """The opening of a file in a state folder; if it cannot be, SystemExit with a sentence."""
    try:
        yield
    except (OSError, sqlite3.Error, Unavailable, Unusable) as error:
        raise SystemExit(f"{folder} cannot be used as a state folder: {error}") from None


@contextmanager
def chosen(options: argparse.Namespace) -> Iterator[AwsHome | LocalHome]:
    """The home that those options name. Raises `vireo.ports.Missing` if it is not deployed."""
    if options.environment:
        # Imported only when needed, because boto3 loads slowly.
        from vireo.homes.deployed import deployed  # noqa: PLC0415

        with deployed(options.environment) as there:
            yield there
    else:
        with closing(opened(options.state)) as here:
            yield here
