"""Servers on a free port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vireo.homes.local.gateway import Gateway, serve


@contextmanager
def running(gateway: Gateway) -> Iterator[int]:
    """The port of a server that has started, and that ends afterwards."""
    server = serve(gateway, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
