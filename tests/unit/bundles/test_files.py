"""A bundle is what was written, or it is refused; one deployment at a time moves the pointer."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from tests.worlds import NOW, bundle, catalogue
from vireo.bundles import files as bundles
from vireo.bundles import manifest, pointer
from vireo.bundles.manifest import MANIFEST, BundleRefused
from vireo.homes.clock import MovableClock
from vireo.homes.local import home
from vireo.ports import Blobs, Conflict, Missing, Ports
from vireo.recommender.contents import ModelBundle

#: Small files keep the tests fast; every kind of array is there.
SMALL = catalogue(12)


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return home(tmp_path / "home", clock=MovableClock(NOW)).open("default")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    bundles.write(bundle(SMALL), folder)
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def assert_equal(ours: ModelBundle, theirs: ModelBundle) -> None:
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, array in ours.arrays.items():
        np.testing.assert_array_equal(array, theirs.arrays[name], err_msg=name)
        assert array.dtype == theirs.arrays[name].dtype
    assert ours.vocabulary == theirs.vocabulary
    assert ours.manifest.model_copy(update={"files": {}}) == theirs.manifest.model_copy(
        update={"files": {}}
    )


def test_what_is_loaded_is_what_was_written(written: Path) -> None:
    made, loaded = bundle(SMALL), bundles.load(written, ModelBundle)
    assert_equal(made, loaded)
    query = np.ones((1, 17), np.float32)
    np.testing.assert_array_equal(made.index.search(query, 5)[1], loaded.index.search(query, 5)[1])


def test_large_arrays_are_mapped(tmp_path: Path) -> None:
    bundles.write(bundle(catalogue(1200)), tmp_path)
    vectors = bundles.load(tmp_path, ModelBundle).arrays["vectors"]
    assert isinstance(vectors.base, np.memmap)


@pytest.mark.parametrize("kind", ["Flat", "IVF16,SQfp16", "IVF16,SQ8"])
def test_a_mapped_index_searches_as_one_in_memory(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors, queries = (rng.normal(size=(n, 17)).astype(np.float32) for n in (3000, 20))
    index: Any = faiss.index_factory(17, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    whole = bundle(catalogue(3000))
    made = ModelBundle(whole.manifest, {**whole.arrays, "vectors": vectors}, index)
    bundles.write(made, tmp_path / "one")
    loaded = bundles.load(tmp_path / "one", ModelBundle)
    again = bundles.write(loaded, tmp_path / "two")
    assert again.files == loaded.manifest.files, "what was loaded can be written again"
    shutil.rmtree(tmp_path / "one")  # as when its successor serves
    for ours, theirs in zip(
        index.search(queries, 50), loaded.index.search(queries, 50), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_same_bundle_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = (bundles.write(bundle(SMALL), tmp_path / n) for n in ("one", "two"))
    assert one == two
    three = bundles.write(bundle(SMALL[::-1]), tmp_path / "three")
    assert one == three, "the order of the videos changed the bundle"


def test_a_flipped_byte_in_any_file_is_refused(written: Path) -> None:
    for name in bundles.load(written, ModelBundle).manifest.files:
        data = (written / name).read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            flipped = bytearray(data)
            flipped[at] ^= 1
            (written / name).write_bytes(flipped)
            with pytest.raises(BundleRefused) as refused:
                bundles.load(written, ModelBundle)
            assert refused.value.file == name
        (written / name).write_bytes(data)
    bundles.load(written, ModelBundle)


def test_a_missing_or_cut_file_is_refused(written: Path) -> None:
    for name in [*bundles.load(written, ModelBundle).manifest.files, MANIFEST]:
        data = (written / name).read_bytes()
        (written / name).write_bytes(data[:-1])
        with pytest.raises(BundleRefused) as refused:
            bundles.load(written, ModelBundle)
        assert refused.value.file == name
        (written / name).unlink()
        with pytest.raises(BundleRefused, match="missing") as refused:
            bundles.load(written, ModelBundle)
        assert refused.value.file == name
        (written / name).write_bytes(data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "schema 2"),
        ({"embedder_id": "another"}, "embedder another"),
        ({"surprise": 1}, "not a manifest"),
        ({"files": {"../x.npy": {"sha256": "", "bytes": 0}}}, "leaves"),
        ({"files": {"/x.npy": {"sha256": "", "bytes": 0}}}, "leaves"),
        ({"files": {"x.pickle": {"sha256": "", "bytes": 0}}}, "neither"),
    ],
)
def test_other_manifests_are_refused(written: Path, change: dict[str, Any], reason: str) -> None:
    rewrite(written, **change)
    with pytest.raises(BundleRefused, match=reason):
        bundles.load(written, ModelBundle)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BundleRefused, match="popular"):
        bundle(SMALL, without=["popular"])
    with pytest.raises(BundleRefused, match=r"vectors\.npy: 3 rows, expected 12"):
        bundle(SMALL, vectors=np.ones((3, 17), np.float32))
    with pytest.raises(BundleRefused, match="indptr"):
        wrong: dict[str, Any] = {"neighbours/indptr": np.zeros(4, np.int64)}
        bundle(SMALL, **wrong)


class Watched:
    """Blobs that remember in which order they were written."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.uploaded: list[str] = []

    def upload(self, path: str, name: str) -> None:
        self.uploaded.append(name)
        self._blobs.upload(path, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)


def test_published_is_fetched(ports: Ports, tmp_path: Path) -> None:
    made, blobs = bundle(SMALL), Watched(ports.blobs)
    bundles.publish(made, blobs)
    assert blobs.uploaded[-1] == "bundles/b1/manifest.json"
    for _ in range(2):  # from the blobs, then from the scratch folder
        assert_equal(made, bundles.fetch(ports.blobs, "b1", tmp_path / "scratch", ModelBundle))
    with pytest.raises(BundleRefused, match=r"manifest\.json: missing"):
        bundles.fetch(ports.blobs, "b2", tmp_path / "scratch", ModelBundle)


def test_a_damaged_scratch_folder_is_fetched_again(ports: Ports, tmp_path: Path) -> None:
    bundles.publish(bundle(SMALL), ports.blobs)
    bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle)
    (tmp_path / "bundles/b1/vectors.npy").unlink()
    assert len(bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle).arrays["vectors"]) == 12


def test_what_a_cut_short_publication_left_here_is_fetched_anew(
    ports: Ports, tmp_path: Path
) -> None:
    bundles.publish(bundle(SMALL), ports.blobs)
    bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle)
    bundles.publish(bundle(SMALL, seed=1), ports.blobs)
    made = bundle(SMALL, seed=1)
    assert_equal(made, bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle, anew=True))
    assert_equal(made, bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle))


def test_the_manifest_of_another_bundle_is_refused(ports: Ports, tmp_path: Path) -> None:
    bundles.publish(bundle(SMALL), ports.blobs)
    for name in list(ports.blobs.names("bundles/b1/")):
        ports.blobs.write(name.replace("/b1/", "/b2/"), ports.blobs.read(name))
    with pytest.raises(BundleRefused, match=r"manifest\.json: that of b1, expected b2"):
        bundles.fetch(ports.blobs, "b2", tmp_path, ModelBundle)


def test_a_fetched_bundle_is_hashed_once(
    ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    check = manifest.check

    def counted(path: Path, name: str, entry: Any) -> None:
        hashed.append(name)
        check(path, name, entry)

    monkeypatch.setattr(manifest, "check", counted)
    bundles.publish(bundle(SMALL), ports.blobs)
    files = set(bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle).manifest.files)
    assert sorted(hashed) == sorted(files)
    bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle)
    assert len(hashed) == len(files)
    (tmp_path / "bundles/b1/.verified.json").write_text("[1, 2")  # cut by a full disk
    bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle)
    assert sorted(hashed) == sorted([*files, *files])


def test_whoever_writes_to_a_verified_file_is_noticed(ports: Ports, tmp_path: Path) -> None:
    bundles.publish(bundle(SMALL), ports.blobs)
    made = bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle)
    path = tmp_path / "bundles/b1/vectors.npy"
    before, flipped = path.stat(), bytearray(path.read_bytes())
    flipped[-1] ^= 1
    time.sleep(0.05)  # file systems count time in ticks
    path.write_bytes(flipped)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # and hides it
    with pytest.raises(BundleRefused, match="checksum"):
        bundles.load(path.parent, ModelBundle)
    assert_equal(made, bundles.fetch(ports.blobs, "b1", tmp_path, ModelBundle))


def test_a_damaged_blob_is_refused_and_leaves_nothing_behind(ports: Ports, tmp_path: Path) -> None:
    bundles.publish(bundle(SMALL), ports.blobs)
    ports.blobs.write("bundles/b1/features.npy", b"no array")
    with pytest.raises(BundleRefused, match=r"features\.npy"):
        bundles.fetch(ports.blobs, "b1", tmp_path / "scratch", ModelBundle)
    assert list((tmp_path / "scratch/bundles").iterdir()) == []


def test_a_crash_before_the_switch_changes_nothing(ports: Ports, tmp_path: Path) -> None:
    bundles.publish(bundle(SMALL), ports.blobs)
    first = pointer.switch(ports.records, "b1", expect=None)
    folder = tmp_path / "half"
    manifest = bundles.write(bundle(SMALL, version="b2"), folder)
    for name in list(manifest.files)[:3]:  # killed in the middle of publishing
        ports.blobs.upload(str(folder / name), f"bundles/b2/{name}")
    shutil.rmtree(folder)
    assert pointer.current(ports.records) == first
    bundles.publish(bundle(SMALL, version="b2"), ports.blobs)  # and it can be done again
    assert bundles.fetch(ports.blobs, "b2", tmp_path / "s", ModelBundle).version == "b2"


def test_the_pointer_moves_for_one_of_two_deployments(ports: Ports) -> None:
    assert pointer.current(ports.records) is None
    first = pointer.switch(ports.records, "b1", expect=None)
    assert pointer.current(ports.records) == first
    with pytest.raises(Conflict):
        pointer.switch(ports.records, "b0", expect=None)
    second = pointer.switch(ports.records, "b2", expect=first)
    with pytest.raises(Conflict):
        pointer.switch(ports.records, "b3", expect=first)
    assert pointer.current(ports.records) == second
    assert (second.version, second.previous) == ("b2", "b1")


def test_rollback_goes_back_and_forth(ports: Ports) -> None:
    with pytest.raises(Missing):
        pointer.rollback(ports.records)
    first = pointer.switch(ports.records, "b1", expect=None)
    with pytest.raises(Missing):
        pointer.rollback(ports.records)
    pointer.switch(ports.records, "b2", expect=first)
    assert pointer.rollback(ports.records).version == "b1"
    assert pointer.rollback(ports.records).version == "b2"
