"""Prints a token for the laptop's API, and registers its client for the tenant."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from vireo.homes.chosen import add_tenant, opened, usable
from vireo.homes.local.tokens import LocalTokens
from vireo.identity import SCOPES
from vireo.ports import Conflict


def main() -> None:
    """Read the options, and print the token."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".state"), help="the state folder")
    add_tenant(parser)
    parser.add_argument("--client", help="the client's id; laptop-<tenant> by default")
    parser.add_argument("--user", help="an end user; without one the token is a machine's")
    parser.add_argument("--scope", nargs="+", default=list(SCOPES), help="all by default")
    parser.add_argument("--ttl", type=float, default=86_400, help="lifetime in seconds")
    options = parser.parse_args()
    client = options.client or f"laptop-{options.tenant}"
    with usable(options.state), closing(opened(options.state)) as home:
        try:
            token = LocalTokens(options.state).issue(
                home,
                tenant=options.tenant,
                client=client,
                scopes=options.scope,
                user=options.user,
                seconds=options.ttl,
            )
        except Conflict:
            raise SystemExit(f"{client} is a client of another tenant; take --client") from None
    print(token)


if __name__ == "__main__":
    main()
