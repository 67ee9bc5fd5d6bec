"""What one step leaves for the next: arrays and a document, as blobs of the run."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vireo.ports import Blobs

Arrays = Mapping[str, NDArray[Any]]


def save(blobs: Blobs, prefix: str, arrays: Arrays, document: Mapping[str, Any]) -> None:
    """Write the arrays, then the document: what has a document is whole."""
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    blobs.write(f"{prefix}/arrays.npz", buffer.getvalue())
    blobs.write(f"{prefix}/document.json", orjson.dumps(document, option=orjson.OPT_SORT_KEYS))


def load(blobs: Blobs, prefix: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What `save` wrote. Raises `vireo.ports.Missing`."""
    document = orjson.loads(blobs.read(f"{prefix}/document.json"))
    with np.load(BytesIO(blobs.read(f"{prefix}/arrays.npz")), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}, document


def group(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays under ``prefix/``, without the prefix."""
    start = prefix + "/"
    return {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
