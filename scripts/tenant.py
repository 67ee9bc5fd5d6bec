"""Makes a tenant with its first client, exports all that it has, or deletes it whole."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import sleep
from typing import Any

from stacks.environments import ENVIRONMENTS
from vireo import identity
from vireo.homes.chosen import add_home, chosen, tenant_name
from vireo.homes.limits import BURST, RATE
from vireo.identity import SCOPES
from vireo.jobs.terminal import Terminal
from vireo.ports import Conflict, Missing, Refused, Unavailable
from vireo.tenancy import deletion, export
from vireo.tenancy.whole import Whole

#: Something that outlives a deletion, and for how long.
STAYS = {
    True: (
        "the bucket's old versions: 30 days",
        "records on the stream: 7 days; what AWS put aside of it: 90 days",
        "point-in-time recovery of the tables: 35 days",
        "counts of campaigns in the cache: as long as the cap_hours of each, 30 days at most",
        "logs, and executions of training in Step Functions: as long as they are kept there",
    ),
    False: (
        "records on the stream: a day after they were followed",
        "counts of campaigns in the cache: until its process ends, 30 days at most",
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says."""
    options = _options(arguments)
    try:
        with chosen(options) as home:
            COMMANDS[options.command](home, options)
    except Conflict:
        raise SystemExit("That client is another tenant's.") from None
    except (FileExistsError, Missing, Refused, Unavailable, deletion.StillWritten) as error:
        raise SystemExit(str(error)) from None


def create(home: Whole, options: argparse.Namespace) -> None:
    """Make a tenant with its first client, which gets those scopes. May be repeated."""
    tenant, there = options.tenant, identity.clients(home, options.tenant)
    client = options.client or f"laptop-{tenant}"
    if options.environment:
        client = _cognito(options.environment).made(tenant, options.scope)
    identity.register_client(home, client, tenant)
    print(f"{tenant} {'has' if client in there else 'now has'} the client {client}")
    print(f"Its limits: {_limits(options.environment)}")
    if options.environment:
        print(_cognito(options.environment).how_to_ask(client))
        return
    print(f"A token: .venv/bin/python scripts/issue_token.py --tenant {tenant} --client {client}")


def export_(home: Whole, options: argparse.Namespace) -> None:
    """Write catalogue, viewers, settings and events into a folder. Goes on where it was."""
    with Terminal() as terminal:
        manifest = export.whole(home, options.tenant, options.into, terminal.task("exporting"))
    for name, count in manifest["files"].items():
        print(f"{count:12,}  {name}")


def delete(home: Whole, options: argparse.Namespace) -> None:
    """Remove a tenant's clients, and then all that it has, for good. May be repeated."""
    tenant = options.tenant
    wanted = options.yes or input(f"Type the tenant's name to delete {tenant} for good: ")
    if wanted != tenant:
        raise SystemExit(f"Nothing was removed: {wanted!r} is not {tenant!r}.")

    def wait(seconds: float) -> None:
        if seconds and not options.at_once:
            until = "no process remembers its clients, and all that they sent has arrived"
            print(f"Waiting {seconds:.0f} s, until {until}.", flush=True)
            sleep(seconds)

    gone = _cognito(options.environment).removed(tenant) if options.environment else []
    with Terminal() as terminal:
        removed = deletion.delete(home, tenant, wait, terminal.task("deleting"))
    removed.clients += gone
    if not removed:
        print(f"There is nothing of {tenant}.")
        return
    print(f"Removed: clients {', '.join(removed.clients) or 'none'}")
    for table in deletion.ORDER:
        print(f"{removed.records[table]:12,}  records of {table}")
    print(f"{removed.blobs:12,}  blobs")
    print("\n  - ".join(["Out of reach, and still there:", *STAYS[bool(options.environment)]]))


class Cognito:
    """The clients of an environment's user pool that this command makes: one for each tenant."""

    def __init__(self, environment: str) -> None:
        # Imported only when needed, because boto3 loads slowly.
        import boto3  # noqa: PLC0415

        from vireo.homes.deployed import outputs  # noqa: PLC0415

        self._client: Any = boto3.client("cognito-idp")
        self._api = outputs(environment, "api")
        self._pool = self._api["UserPoolId"]

    def made(self, tenant: str, scopes: list[str]) -> str:
        """The id of a tenant's client, which is made if there is none."""
        for client in self._named(tenant):
            return client
        made = self._client.create_user_pool_client(
            UserPoolId=self._pool,
            ClientName=_named(tenant),
            GenerateSecret=True,
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthFlows=["client_credentials"],
            AllowedOAuthScopes=scopes,
            EnableTokenRevocation=True,
        )
        return str(made["UserPoolClient"]["ClientId"])

    def removed(self, tenant: str) -> list[str]:
        """The names of the clients of a tenant that were there, and are gone."""
        gone = self._named(tenant)
        for client in gone:
            self._client.delete_user_pool_client(UserPoolId=self._pool, ClientId=client)
        return [f"{client} of the user pool" for client in gone]

    def how_to_ask(self, client: str) -> str:
        """The ways to its secret and to a token; the secret itself is not printed."""
        return (
            f"Its secret: aws cognito-idp describe-user-pool-client --user-pool-id {self._pool}"
            f" --client-id {client} --query UserPoolClient.ClientSecret\n"
            f"A token: from {self._api['TokenUrl']}, grant client_credentials"
        )

    def _named(self, tenant: str) -> list[str]:
        pages = self._client.get_paginator("list_user_pool_clients").paginate(UserPoolId=self._pool)
        clients = [client for page in pages for client in page["UserPoolClients"]]
        return [str(c["ClientId"]) for c in clients if c["ClientName"] == _named(tenant)]


def _limits(environment: str | None) -> str:
    """The limits of every client, which hold for a tenant's first as for any other."""
    if environment is None:
        return f"{RATE} requests a second, {BURST} at once, of each client"
    firewall = ENVIRONMENTS[environment].firewall
    each = f", {firewall.client_rate} of each client" if firewall else ""
    return f"{ENVIRONMENTS[environment].rate} requests a second of all together{each}"


def _named(tenant: str) -> str:
    return f"tenant-{tenant}"


def _cognito(environment: str) -> Cognito:
    return Cognito(environment)


COMMANDS: dict[str, Any] = {"create": create, "export": export_, "delete": delete}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what.__doc__, description=what.__doc__)
        command.add_argument("tenant", type=tenant_name, help="its name")
        add_home(command)
        if name == "create":
            command.add_argument("--client", help="on a laptop; laptop-<tenant> by default")
            command.add_argument("--scope", nargs="+", choices=SCOPES, default=list(SCOPES))
        if name == "export":
            command.add_argument("--into", type=Path, required=True, metavar="FOLDER")
        if name == "delete":
            command.add_argument("--yes", metavar="NAME", help="its name again; asks for it if not")
            still = "do not wait: no process runs that served it"
            command.add_argument("--at-once", action="store_true", help=still)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
