"""API clients: machine clients with scopes. A stack of its own, so that the API can be replaced."""

from __future__ import annotations

from typing import Any

from aws_cdk import Aws, RemovalPolicy, Stack
from aws_cdk import aws_cognito as cognito
from constructs import Construct

from stacks.checks import accept
from stacks.environments import Environment
from stacks.routes import routes

#: Name of the resource server; scopes are ``vireo/<name>``.
RESOURCE_SERVER = "vireo"


class CallersStack(Stack):
    """A user pool with a scope for each kind of route, and a first client that has them all.

    The first client is for the smoke test and for a single tenant; later ones get the scopes they
    need. The tenant of a client is in a record.
    """

    def __init__(
        self, scope: Construct, id: str, *, environment: Environment, **kwargs: Any
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self.pool = cognito.UserPool(
            self,
            "Callers",
            self_sign_up_enabled=False,
            password_policy=cognito.PasswordPolicy(
                min_length=14,
                require_digits=True,
                require_lowercase=True,
                require_symbols=True,
                require_uppercase=True,
            ),
            account_recovery=cognito.AccountRecovery.EMAIL_ONLY,
            deletion_protection=environment.protected,
            removal_policy=RemovalPolicy.RETAIN,
        )
        for rule in ("COG2", "COG8"):
            accept(
                self.pool, rule, "Its clients are machines with a secret; nobody signs in by hand."
            )
        scopes = [
            cognito.ResourceServerScope(
                scope_name=name.removeprefix(f"{RESOURCE_SERVER}/"),
                scope_description=f"Routes that ask for {name}",
            )
            for name in sorted({route.scope for route in routes() if route.scope})
        ]
        server = self.pool.add_resource_server("Scopes", identifier=RESOURCE_SERVER, scopes=scopes)
        self.client = self.pool.add_client(
            "Service",
            generate_secret=True,
            o_auth=cognito.OAuthSettings(
                flows=cognito.OAuthFlows(client_credentials=True),
                scopes=[cognito.OAuthScope.resource_server(server, one) for one in scopes],
            ),
            enable_token_revocation=True,
        )
        domain = self.pool.add_domain(
            "Domain",
            cognito_domain=cognito.CognitoDomainOptions(
                domain_prefix=f"vireo-{environment.name}-{Aws.ACCOUNT_ID}"
            ),
        )
        self.token_url = f"{domain.base_url()}/oauth2/token"
