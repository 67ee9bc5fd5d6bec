"""Every route against requests generated from its own documentation: whatever comes, an answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from recommend.app import build
from tests.worlds import bundle, catalogue
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.homes.local import home
from vireo.homes.local.gateway import Gateway
from vireo.identity import register_client
from vireo.problems import ErrorBody

SCOPES = "catalogue.read catalogue.write users.read users.write recommend"
#: That moments may be numbers in text, and that bad combinations are refused, is meant so.
CHECKED = [
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
    content_type_conformance,
]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    here = home(Path(tmp_path_factory.mktemp("home")))
    register_client(here, "machine", "default")
    ports = here.open("default")
    bundles.publish(bundle(catalogue(120)), ports.blobs)
    pointer.switch(ports.records, "b1", expect=None)
    api = build(here)

    def verify(token: str) -> dict[str, Any]:
        now = time.time()
        scope = " ".join(f"vireo/{s}" for s in SCOPES.split())
        who = {"client_id": "machine", "sub": "machine", "token_use": "access"}
        return {**who, "scope": scope, "iat": now, "exp": now + 600}

    gateway = Gateway(api.resolve, verify, api.operations(), openapi=api.get_openapi_json_schema)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """One start and one end for every request would close the gateway after the first."""
        if scope["type"] != "lifespan":
            await gateway(scope, receive, send)
            return
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_an_answer_to_everything(document: Any) -> None:
    asked = 0
    for found in document.get_all_operations():
        operation = found.ok()
        asked += 1

        @settings(max_examples=15, deadline=None, derandomize=True, database=None)
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            response = case.call(headers={"Authorization": "Bearer anything"})
            case.validate_response(response, checks=CHECKED)
            if response.status_code >= 400:
                ErrorBody.model_validate_json(response.content)

        check()
    assert asked == 12
