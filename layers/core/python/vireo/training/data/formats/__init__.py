"""Readers of other data set formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vireo.jobs.lines import DatasetError
from vireo.jobs.progress import Progress
from vireo.training.data import dataset
from vireo.training.data.dataset import Dataset, OnError
from vireo.training.data.formats import kuairand, movielens

Reader = Callable[[Path, OnError, Progress | None], Dataset]

#: Test of a folder, and reader, by name of the format.
FORMATS: dict[str, tuple[Callable[[Path], bool], Reader]] = {
    "vireo": (dataset.is_dataset, dataset.read),
    "movielens": (movielens.is_movielens, movielens.read),
    "kuairand": (kuairand.is_kuairand, kuairand.read),
}


def detect(folder: Path) -> str:
    """The name of the format in a folder. Raises `DatasetError` if there is none."""
    for name, (holds, _) in FORMATS.items():
        if holds(folder):
            return name
    raise DatasetError(f"{folder} holds none of these formats: {', '.join(FORMATS)}")


def read(
    folder: Path,
    name: str = "auto",
    on_error: OnError = "skip",
    progress: Progress | None = None,
) -> Dataset:
    """Read a folder in the named format; by default the format is detected."""
    return FORMATS[detect(folder) if name == "auto" else name][1](folder, on_error, progress)
