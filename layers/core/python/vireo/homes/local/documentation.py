"""The documentation page of the API in a single file that loads nothing else."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from aws_lambda_powertools.event_handler.openapi import swagger_ui


@cache
def page(document: str) -> str:
    """Powertools' Swagger UI for an OpenAPI document in JSON."""
    folder = Path(swagger_ui.__file__).parent
    return swagger_ui.generate_swagger_html(
        document.replace("</", "<\\/"),  # so that no description can end the script around it
        (folder / "swagger-ui-bundle.min.js").read_text(encoding="utf-8"),
        (folder / "swagger-ui.min.css").read_text(encoding="utf-8"),
        "",
        None,
        persist_authorization=True,
    )
