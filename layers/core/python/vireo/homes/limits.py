"""The limits of AWS on stream records, state machine documents and calls of functions.

AWS enforces them itself, or both homes do; those of calls only the laptop's gateway has to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from vireo.ports import Refused

RECORDS = 500
RECORD_BYTES = 1024 * 1024
#: Kinesis allows 256 characters for a partition key, which includes the tenant.
KEY_CHARACTERS = 200
#: Step Functions' limit on the data passed between states.
DOCUMENT_BYTES = 256 * 1024
#: Lambda's limit on the event of a call that waits for its answer, and on that answer, as JSON.
CALL_BYTES = 6 * 1024 * 1024
#: Requests of one client a second, and of its burst, on a laptop: what dev has for each route; and
#: the share of it that routes have whose requests carry hundreds of things.
RATE, BURST = 50, 100
SHARES = {("POST", "/v1/events"): 1 / 10, ("POST", "/v1/videos/batch"): 1 / 50}


def refusals(records: Sequence[tuple[str, bytes]]) -> list[str | None]:
    """For each record, None or the reason to refuse it. Raises `Refused` for over 500 records."""
    if len(records) > RECORDS:
        raise Refused(f"at most {RECORDS} records at once, not {len(records)}")
    return [_refusal(key, payload) for key, payload in records]


def owned(document: Mapping[str, Any], tenant: str) -> dict[str, Any]:
    """A run's document with its tenant added, from which the steps open their home.

    Raises `Refused` for another tenant's document, for over 256 KB, and for anything but plain
    JSON.
    """
    if document.get("tenant", tenant) != tenant:
        raise Refused(f"a document of {tenant} cannot be for {document['tenant']!r}")
    try:
        json = orjson.dumps({**document, "tenant": tenant})
    except TypeError as error:
        raise Refused(f"a document is plain JSON: {error}") from None
    if len(json) > DOCUMENT_BYTES:
        raise Refused(f"a document has at most {DOCUMENT_BYTES} bytes, not {len(json)}")
    own: dict[str, Any] = orjson.loads(json)
    return own


def _refusal(key: str, payload: bytes) -> str | None:
    if not 1 <= len(key) <= KEY_CHARACTERS:
        return f"a stream's key has 1 to {KEY_CHARACTERS} characters"
    if len(payload) + len(key.encode(errors="replace")) + 64 > RECORD_BYTES:
        return f"a record has at most {RECORD_BYTES} bytes"
    if not payload:
        return "a record must not be empty"
    return None
