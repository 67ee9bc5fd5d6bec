"""A reader of delimited text: columns in chunks of lines, with malformed lines reported."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: Lines per chunk; bounds the lists that the garbage collector keeps traversing.
CHUNK = 20_000


@dataclass(frozen=True, order=True)
class Rejected:
    """A row that was left out; ``line`` counts from 1, and is the row number in Parquet."""

    file: str
    line: int
    reason: str


class DatasetError(ValueError):
    """The data is unreadable: a file or column is missing, or a row is invalid under ``stop``."""


@dataclass(frozen=True)
class Chunk:
    """Some lines of one file: text columns, line numbers of the rows, and the malformed lines."""

    columns: pa.Table
    lines: NDArray[np.int64]
    rejected: list[Rejected]


def open_text(path: Path, encoding: str = "utf-8-sig", errors: str = "strict") -> IO[str]:
    """A text file, decompressed if its name ends in .gz; line ends are kept as they are."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding=encoding, errors=errors, newline="")
    return path.open(encoding=encoding, errors=errors, newline="")


def read_columns(
    path: Path,
    *,
    separator: str = ",",
    names: Sequence[str] | None = None,
    encoding: str = "utf-8-sig",
) -> Iterator[Chunk]:
    """Chunks of a file with one row per line; without ``names`` the first line is the header.

    Undecodable bytes become U+FFFD, which the checks of the columns refuse. Blank lines are
    skipped. Raises `DatasetError` if the file is damaged or has no header.
    """
    with open_text(path, encoding, errors="replace") as file:
        try:
            yield from _chunks(file, path.name, separator, names)
        except (EOFError, gzip.BadGzipFile, OSError) as error:
            raise DatasetError(f"{path.name}: cannot be read: {error}") from error


def _chunks(
    file: IO[str], name: str, separator: str, names: Sequence[str] | None
) -> Iterator[Chunk]:
    start = 1
    if names is None:
        header = _split(file.readline(), separator)
        names, start = [h.split(":")[0].strip() if separator == "\t" else h for h in header], 2
        if not any(names) or len(set(names)) != len(names):
            raise DatasetError(f"{name}: the first line must name every column once")
    rows: list[list[str]] = []
    lines: list[int] = []
    rejected: list[Rejected] = []
    for number, line in enumerate(file, start):
        if line.isspace():
            continue
        try:
            row = _split(line, separator)
        except csv.Error as error:
            rejected.append(Rejected(name, number, f"not a row: {error}"))
            continue
        if len(row) != len(names):
            rejected.append(Rejected(name, number, f"{len(row)} columns instead of {len(names)}"))
            continue
        rows.append(row)
        lines.append(number)
        if len(rows) == CHUNK:
            yield _chunk(names, rows, lines, rejected)
            rows, lines, rejected = [], [], []
    yield _chunk(names, rows, lines, rejected)


def _split(line: str, separator: str) -> list[str]:
    bare = line.rstrip("\r\n")
    if separator == "," and '"' in bare:
        return next(csv.reader([bare], strict=True))
    return bare.split(separator)


def _chunk(
    names: Sequence[str], rows: list[list[str]], lines: list[int], rejected: list[Rejected]
) -> Chunk:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    table = pa.table(
        {n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)},
    )
    return Chunk(table, np.array(lines, np.int64), rejected)
