"""HTTP connections on a laptop: uvicorn's, which do not wait for ever for what a client sends."""

from __future__ import annotations

import asyncio

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds in which the head of a request has to come, once a connection is made or it has begun.
SECONDS = 10.0
#: The answer to who did not send it, in the service's format.
TOO_LATE = {
    "error": {"code": "request_timeout", "message": "no request came in time", "fields": []},
    "request_id": "",
}


class Impatient(H11Protocol):
    """A connection that is closed if no whole head of a request comes in time.

    Whatever follows an answer counts as the next head, so nobody keeps a connection by sending a
    refused body drop by drop.
    """

    seconds = SECONDS
    _due: asyncio.TimerHandle | None = None

    # As uvicorn's own does, which is always given this kind.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stop waiting when a request has begun."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._due is None and not self.transport.is_closing():
            self._due = self.loop.call_later(self.seconds, self._late)

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _late(self) -> None:
        self._due = None
        begun = bool(self.conn.trailing_data[0])
        if begun and self.conn.our_state is h11.IDLE and not self.transport.is_closing():
            body = orjson.dumps(TOO_LATE)
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (
                h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
