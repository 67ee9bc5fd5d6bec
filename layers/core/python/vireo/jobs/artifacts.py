"""Artifacts: arrays and a document that one step leaves for the next, as blobs of the run."""

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
    """Write the arrays, then the document: an artifact with a document is complete."""
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    blobs.write(f"{prefix}/arrays.npz", buffer.getvalue())
    blobs.write(f"{prefix}/document.json", orjson.dumps(document, option=orjson.OPT_SORT_KEYS))


def load(blobs: Blobs, prefix: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and the document that `save` wrote. Raises `vireo.ports.Missing`."""
    document = orjson.loads(blobs.read(f"{prefix}/document.json"))
    with np.load(BytesIO(blobs.read(f"{prefix}/arrays.npz")), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}, document


def group(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays under ``prefix/``, without the prefix."""
    start = prefix + "/"
    return {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
