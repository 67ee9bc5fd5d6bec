"""What blobs do in every home."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vireo.homes.aws import AwsHome
from vireo.ports import Home, Missing, Ports, Refused


def test_written_is_read(ports: Ports) -> None:
    data = bytes(range(256)) * 1000
    ports.blobs.write("bundles/v1/index.faiss", data)
    assert ports.blobs.read("bundles/v1/index.faiss") == data
    ports.blobs.write("bundles/v1/index.faiss", b"")
    assert ports.blobs.read("bundles/v1/index.faiss") == b""


def test_missing(ports: Ports, tmp_path: Path) -> None:
    ports.blobs.write("a/b", b"1")
    for name in ("x", "a", "a/b/c"):
        with pytest.raises(Missing):
            ports.blobs.read(name)
        with pytest.raises(Missing):
            ports.blobs.download(name, str(tmp_path / "target"))
        ports.blobs.delete(name)
    assert not (tmp_path / "target").exists()
    assert ports.blobs.read("a/b") == b"1"


def test_names_start_with_the_prefix_and_are_sorted(ports: Ports) -> None:
    written = ["b/1", "a.b/c", "a-b", "a/z/1", "a/b", "ab", "date=2024-01-01/x.parquet"]
    for name in written:
        ports.blobs.write(name, b"1")
    assert list(ports.blobs.names()) == sorted(written)
    assert list(ports.blobs.names("a")) == sorted(n for n in written if n.startswith("a"))
    assert list(ports.blobs.names("a/")) == ["a/b", "a/z/1"]
    assert list(ports.blobs.names("a/z")) == ["a/z/1"]
    assert list(ports.blobs.names("none/")) == []
    ports.blobs.delete("a/b")
    assert list(ports.blobs.names("a/")) == ["a/z/1"]


def test_more_names_than_a_page(home: Home, ports: Ports) -> None:
    pages = 1001 if isinstance(home, AwsHome) else 20  # only S3 has pages
    names = [f"n/{j:04}" for j in range(pages)]
    for name in names:
        ports.blobs.write(name, b"")
    assert list(ports.blobs.names("n/")) == names


def test_up_and_down(ports: Ports, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_bytes(b"x" * 100_000)
    ports.blobs.upload(str(source), "a/file")
    ports.blobs.download("a/file", str(target))
    assert target.read_bytes() == source.read_bytes()
    assert [p.name for p in target.parent.iterdir()] == ["target"]
    with pytest.raises(FileNotFoundError):
        ports.blobs.upload(str(tmp_path / "nothing"), "a/other")


@pytest.mark.parametrize(
    "name",
    [
        *["", "/", "/a", "a/", "a//b", "..", "../x", "a/../b", ".", "a/./b", "a\\b", "ä"],
        "a\0b",
        "a b",
        "a\n",
        "a" * 201,
        "a/" * 450 + "a",
    ],
)
def test_names_that_are_none(ports: Ports, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(Refused):
        ports.blobs.write(name, b"1")
    with pytest.raises(Refused):
        ports.blobs.read(name)
    with pytest.raises(Refused):
        ports.blobs.delete(name)
    with pytest.raises(Refused):
        ports.blobs.upload(str(tmp_path / "file"), name)
    with pytest.raises(Refused):
        ports.blobs.download(name, str(tmp_path / "target"))
    assert list(ports.blobs.names()) == []


def test_when_they_were_written(ports: Ports) -> None:
    began = time.time() - 2  # S3 tells whole seconds
    for name in ("w/2", "w/1", "elsewhere"):
        ports.blobs.write(name, b"1")
    found = list(ports.blobs.written("w/"))
    assert [name for name, _ in found] == ["w/1", "w/2"]
    assert all(began <= at <= time.time() + 2 for _, at in found)
    assert list(ports.blobs.written("none/")) == []
