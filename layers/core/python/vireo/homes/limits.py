"""What the stream takes: Kinesis' limits, kept by both homes."""

from __future__ import annotations

from collections.abc import Sequence

from vireo.ports import Refused

RECORDS = 500
RECORD_BYTES = 1024 * 1024
#: Kinesis allows 256 characters for a partition key; the tenant needs some.
KEY_CHARACTERS = 200


def refusals(records: Sequence[tuple[str, bytes]]) -> list[str | None]:
    """Per record why it can never be taken, or None. Raises `Refused` for over 500 records."""
    if len(records) > RECORDS:
        raise Refused(f"at most {RECORDS} records at once, not {len(records)}")
    return [_refusal(key, payload) for key, payload in records]


def _refusal(key: str, payload: bytes) -> str | None:
    if not 1 <= len(key) <= KEY_CHARACTERS:
        return f"a stream's key has 1 to {KEY_CHARACTERS} characters"
    if len(payload) + len(key.encode(errors="replace")) + 64 > RECORD_BYTES:
        return f"a record has at most {RECORD_BYTES} bytes"
    if not payload:
        return "a record must not be empty"
    return None
