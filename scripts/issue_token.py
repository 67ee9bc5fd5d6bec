"""Prints a token for the laptop's API, and registers its client for the tenant."""

from __future__ import annotations

import argparse
from pathlib import Path

from vireo.homes.chosen import add_tenant, opened
from vireo.homes.local.tokens import LocalTokens
from vireo.identity import SCOPES


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
    home = opened(options.state)
    print(
        LocalTokens(options.state).issue(
            home,
            tenant=options.tenant,
            client=options.client or f"laptop-{options.tenant}",
            scopes=options.scope,
            user=options.user,
            seconds=options.ttl,
        )
    )
    home.close()


if __name__ == "__main__":
    main()
