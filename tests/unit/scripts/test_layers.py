"""The layers: what they are made of is pinned and enough, and same sources make the same bytes."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from scripts import build_layers
from tests.sources import PACKAGE, ROOT, imports, modules, pins

#: Packages that every part of the domain stands on.
SHARED = ("bundles", "catalogue", "viewers")
#: Lambda's runtime brings these, and layers that repeat them would only be larger.
RUNTIME = {"boto3", "botocore"}
BASE = "public.ecr.aws/lambda/python"
FOLDERS = [build_layers.SERVING, build_layers.TRAINING]
linux = pytest.mark.skipif(sys.platform != "linux", reason="shared objects are ELF on Linux only")


def locked(folder: Path) -> dict[str, list[str]]:
    """Hashes by ``name==version``."""
    lines = (folder / "requirements.lock").read_text().replace("\\\n", "").splitlines()
    found = [line.split() for line in lines if not line.startswith("#")]
    return {name.lower().replace("_", "-"): hashes for name, *hashes in found}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_the_lock_holds_what_is_required_and_one_hash_of_each(folder: Path) -> None:
    required = pins(folder / "requirements.txt")
    lock = locked(folder)
    assert {f"{name}=={version}" for name, version in required.items()} < lock.keys()
    for name, hashes in lock.items():
        assert len(hashes) == 1, name
        assert hashes[0].startswith("--hash=sha256:"), name


def test_the_request_path_imports_what_the_layers_have() -> None:
    files = [*PACKAGE.glob("*.py"), PACKAGE / "homes/redis_cache.py"]
    for room in (*SHARED, "recommender", "events", "homes/aws"):
        files += modules(PACKAGE / room)
    files.remove(PACKAGE / "events/parquet.py")  # of training, and of the laptop
    functions = ["recommend", "events", "tracking", "delivery"]
    files += [path for name in functions for path in modules(ROOT / "lambdas" / name)]
    names = {name.split(".")[0] for path in files for name in runtime_imports(path)}
    assert {"faiss", "numpy", "boto3", "redis"} <= names
    assert names <= importable(build_layers.SERVING) | RUNTIME | set(functions)


def test_training_imports_what_its_image_has() -> None:
    files = [*PACKAGE.glob("*.py"), *modules(ROOT / "lambdas/training")]
    files.remove(PACKAGE / "api.py")  # of HTTP services
    for room in (*SHARED, "recommender", "jobs", "training", "homes/aws"):
        files += modules(PACKAGE / room)
    files.remove(PACKAGE / "jobs/terminal.py")  # of the laptop
    names = {name.split(".")[0] for path in files for name in runtime_imports(path)}
    assert {"jax", "catboost", "ibis", "boto3"} <= names
    assert names <= importable(build_layers.TRAINING) | {"training"}


def importable(folder: Path) -> set[str]:
    """Names that can be imported where that lock is installed, beside our own package."""
    names = {pin.split("==")[0].replace("-", "_") for pin in locked(folder)}
    modules_of = {"faiss_cpu": "faiss", "ibis_framework": "ibis"}
    return {modules_of.get(n, n) for n in names} | {"vireo"} | sys.stdlib_module_names


def test_the_image_copies_what_there_is_and_starts_our_handler() -> None:
    lines = (build_layers.TRAINING / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    steps = [line.split() for line in lines if line and not line.startswith("#")]
    copied = [source for step in steps if step[0] == "COPY" for source in step[1:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
    assert {f"lambdas/training/{p.name}" for p in modules(build_layers.TRAINING)} <= set(copied)
    (command,) = [json.loads(" ".join(step[1:])) for step in steps if step[0] == "CMD"]
    module, _, name = command[0].rpartition(".")
    assert f"{name} = " in (ROOT / "lambdas" / f"{module.replace('.', '/')}.py").read_text()
    assert any("--require-hashes" in step for step in steps)
    first, second = [s for s in steps if s[0] in {"ARG", "FROM"}]
    assert (first, second) == (
        ["ARG", f"BASE={BASE}:{build_layers.PYTHON}-arm64"],
        ["FROM", "${BASE}"],
    )


def runtime_imports(path: Path) -> list[str]:
    """What a file imports when it runs: not what only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped |= {n.module or "" for n in node.body if isinstance(n, ast.ImportFrom)}
    return [name for name in imports(path) if name.rpartition(".")[0] not in skipped]


def tree(folder: Path, order: int) -> Path:
    """A small layer, whose files are written in that order, now."""
    files = {
        "python/a/__init__.py": b"",
        "python/a/code.py": b"print('a')\n" * 500,
        "python/a/native.so": b"\x7fELF",
        "python/a-1.dist-info/METADATA": "Name: ä".encode(),
    }
    for name, data in list(files.items())[::order]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1e9 + order, 1e9 + order))
        path.chmod(0o600 if order < 0 else 0o644)
    return folder


def test_a_zip_depends_on_names_and_bytes_alone(tmp_path: Path) -> None:
    one = build_layers.pack(tree(tmp_path / "one", 1), tmp_path / "one.zip")
    two = build_layers.pack(tree(tmp_path / "two", -1), tmp_path / "two.zip")
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert archive.read("python/a/code.py") == b"print('a')\n" * 500
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes["python/a/native.so"] == 0o100755
    assert modes["python/a/code.py"] == 0o100644
    (tmp_path / "two/python/a/code.py").write_bytes(b"print('b')\n" * 500)
    assert build_layers.pack(tmp_path / "two", two).read_bytes() != one.read_bytes()


def test_layers_are_built_again_when_anything_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not build_layers.is_built(tmp_path)
    code = tree(tmp_path / "sources", 1)
    monkeypatch.setattr(build_layers, "SOURCES", code)
    for layer in ("core", "serving"):
        tree(tmp_path / layer, 1)
    (tmp_path / build_layers.NOTE).write_text(json.dumps(build_layers.state(tmp_path)))
    build_layers.main(["--unless-built", "--out", str(tmp_path)])
    assert "are those of these sources" in capsys.readouterr().out
    for changed in (code, tmp_path / "core", tmp_path / "serving"):
        file = changed / "python/a/code.py"
        before = file.read_bytes()
        file.write_bytes(b"changed")
        assert not build_layers.is_built(tmp_path)
        file.write_bytes(before)
    assert build_layers.is_built(tmp_path)
    monkeypatch.setattr(build_layers, "SERVING", build_layers.TRAINING)
    assert not build_layers.is_built(tmp_path)


def test_what_no_function_imports_is_pruned(tmp_path: Path) -> None:
    kept = ["python/a/code.py", "python/a-1.dist-info/METADATA", "python/a/RECORD"]
    pruned = ["python/a/tests/test_a.py", "python/a/code.pyi", "python/bin/a", "python/b/code.pyc"]
    pruned += ["python/a/__pycache__/code.cpython-313.pyc", "python/a-1.dist-info/RECORD"]
    for name in kept + pruned:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    build_layers.prune(tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == set(kept)
    assert not (tmp_path / "python/b").exists()


def test_bytecode_is_the_same_and_used_as_it_is(tmp_path: Path) -> None:
    folders = [tree(tmp_path / "one", 1), tree(tmp_path / "two", -1)]
    for folder in folders:
        build_layers.compile_all(folder, sys.executable)
    one, two = (list((folder / "python").rglob("*.pyc")) for folder in folders)
    assert len(one) == 2
    assert {p.name: p.read_bytes() for p in one} == {p.name: p.read_bytes() for p in two}
    assert b"/opt/python/a/code.py" in next(p for p in one if "code" in p.name).read_bytes()
    (tmp_path / "one/python/a/code.py").write_text("another")
    command = [sys.executable, "-c", "import a.code"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "one/python")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "a\n" * 500


def test_only_a_python_of_lambda_s_version_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_layers, "PYTHON", "{}.{}".format(*sys.version_info))
    assert build_layers.interpreter() == sys.executable
    monkeypatch.setattr(build_layers, "PYTHON", "3.0")
    assert build_layers.interpreter() is None


@pytest.fixture
def native(tmp_path: Path) -> Path:
    """A folder with a real shared object of this machine."""
    source = next(Path(np.__file__).parent.rglob("_multiarray_umath*.so"))
    shutil.copy(source, tmp_path / "umath.so")
    return tmp_path


@linux
def test_objects_of_another_machine_and_newer_libraries_are_found(native: Path) -> None:
    found = list(build_layers.problems(native, "EM_RISCV", {"GLIBC": (2, 3)}))
    assert any(f.startswith("umath.so: for EM_") and f.endswith("not EM_RISCV") for f in found)
    assert any(f.startswith("umath.so: needs GLIBC_2.") for f in found)
    assert any("needs libscipy_openblas64" in f and "neither the layer" in f for f in found)


@linux
def test_objects_that_fit_are_not_complained_about(native: Path) -> None:
    machine = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}[os.uname().machine]
    found = list(build_layers.problems(native, machine))
    assert not [f for f in found if "neither the layer nor Lambda" not in f]


def test_what_only_looks_like_a_shared_object_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.so.1").write_bytes(b"MZ, from another world")
    assert list(build_layers.problems(tmp_path)) == ["x.so.1: not an ELF file"]


def test_sizes_are_told(tmp_path: Path) -> None:
    tree(tmp_path / "core", 1)
    (tmp_path / "core/python/a/native.so").write_bytes(b"x" * 2_000_000)
    archive = build_layers.pack(tmp_path / "core", tmp_path / "core.zip")
    told = build_layers.table(tmp_path, [archive])
    assert "2.0 MB unpacked" in told
    assert build_layers.digest(archive) in told
    assert "of at most 150" in told
    assert "No bytecode" in told
    build_layers.compile_all(tmp_path / "core", sys.executable)
    assert "No bytecode" not in build_layers.table(tmp_path, [archive])
