"""Builds the Lambda layers for ARM64 on any machine, without Docker: same sources, same bytes.

``core`` is our package; ``serving`` is the wheels of the lock, without files that no function
imports. Both have bytecode if this machine has a Python of Lambda's version. Each becomes a folder
``build/<layer>/python/…`` and a reproducible zip (with the same zlib and Python). ``--lock``
rewrites the locks, including that of the training image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

ROOT = Path(__file__).resolve().parent.parent
SERVING, TRAINING = ROOT / "layers/serving", ROOT / "lambdas/training"
SOURCES = ROOT / "layers/core/python/vireo"

#: Lambda's Python 3.13 runs on Amazon Linux 2023. pip takes a platform as exact, not "at most".
PYTHON = "3.13"
PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{n}_aarch64" for n in range(17, 35))]
UV_PLATFORM = "aarch64-manylinux_2_34"
MACHINE = "EM_AARCH64"
#: Newest symbol versions of its C and C++ libraries (glibc 2.34, GCC 11).
NEWEST = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (11, 0)}
#: Libraries of the runtime itself; any other must be in the layer.
RUNTIME = {"ld-linux-aarch64.so.1", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6"}
RUNTIME |= {"libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libz.so.1"}
#: Maximum size of all layers together, in unpacked megabytes (10⁶ bytes). Lambda's limit is 262.
MOST = 150
#: Beside the layers: of what they were made.
NOTE = "layers.json"
#: Files that no function imports: tests, type stubs, commands, and an installer's own notes.
PRUNED_FOLDERS = {"tests", "test", "__pycache__", "bin"}
PRUNED_SUFFIXES = {".pyi", ".pyc", ".pyx", ".pxd", ".a", ".h"}
PRUNED_NOTES = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"}
#: Timestamp of every entry of a zip: the earliest that the format allows.
EPOCH = (1980, 1, 1, 0, 0, 0)


class Unfit(Exception):
    """The built layers are too large, or would not run in Lambda."""


def main(arguments: list[str] | None = None) -> None:
    """Write the locks; or build the layers, check them, and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build", metavar="DIR")
    parser.add_argument("--lock", action="store_true", help="write the locks, and build nothing")
    parser.add_argument(
        "--unless-built", action="store_true", help="leave what is there, if it is of these sources"
    )
    parser.add_argument("--twice", action="store_true", help="build again and compare every byte")
    options = parser.parse_args(arguments)
    try:
        if options.lock:
            for folder in (SERVING, TRAINING):
                (folder / "requirements.lock").write_text(lock(folder / "requirements.txt"))
            return
        if options.unless_built and is_built(options.out):
            print(f"The layers in {options.out} are those of these sources.")
            return
        made = build(options.out)
        if options.twice:
            with tempfile.TemporaryDirectory() as other:
                again = build(Path(other))
                if [digest(z) for z in made] != [digest(z) for z in again]:
                    raise Unfit("two builds differ")
        print(table(options.out, made))
    except (Unfit, subprocess.CalledProcessError) as error:
        raise SystemExit(f"Not built: {error}") from None


def build(out: Path) -> list[Path]:
    """Build both layers, as folders and zips in ``out``. Raises `Unfit`."""
    core, serving = fresh(out / "core"), fresh(out / "serving")
    shutil.copytree(SOURCES, core / "python/vireo")
    lock_file, target = SERVING / "requirements.lock", serving / "python"
    pip("--require-hashes", "-r", str(lock_file), "--no-compile", "--target", str(target))
    python = interpreter()
    for layer in (core, serving):
        prune(layer)
        if python is not None:
            compile_all(layer, python)
    complaints = list(problems(serving))
    size = sum(megabytes(layer) for layer in (core, serving))
    if size > MOST:
        complaints.append(f"{size:.0f} MB unpacked, of at most {MOST}")
    if complaints:
        raise Unfit("\n  ".join(["", *complaints]))
    made = [pack(layer, layer.with_suffix(".zip")) for layer in (core, serving)]
    (out / NOTE).write_text(json.dumps(state(out)))
    return made


def is_built(out: Path) -> bool:
    """Checks that both layers are there, made of these very sources and not changed since."""
    note = out / NOTE
    return note.exists() and bool(json.loads(note.read_text()) == state(out))


def state(out: Path) -> list[str]:
    """Hashes of all that layers are made of (code, lock, this script, Python), and of both."""
    ways = [SERVING / "requirements.lock", Path(__file__)]
    made = [contents(out / "core"), contents(out / "serving")]
    return [contents(SOURCES, bytecode=False), *map(digest, ways), str(interpreter()), *made]


def contents(folder: Path, *, bytecode: bool = True) -> str:
    """A hash of the names and bytes of all files in a folder, with or without bytecode."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    counted = [p for p in files if bytecode or p.parent.name != "__pycache__"]
    lines = [f"{p.relative_to(folder)} {digest(p)}" for p in counted]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def lock(requirements: Path) -> str:
    """A lock of requirements with all dependencies: every version, and the hash of its wheel.

    The versions are those of the root's lock, so that Lambda runs what is tested on a laptop.
    """
    options = ["--python-version", PYTHON, "--python-platform", UV_PLATFORM, "--no-annotate"]
    options += ["--constraint", str(ROOT / "requirements.lock"), "--only-binary", ":all:"]
    with tempfile.TemporaryDirectory() as folder:
        pins, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        command = ["uv", "pip", "compile", "--quiet", *options, "--output-file", str(pins)]
        subprocess.run([sys.executable, "-m", *command, str(requirements)], check=True)
        picked = ["--dry-run", "--target", "unused", "--report", str(report)]
        pip("--no-deps", "-r", str(pins), *picked)
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    lines = ["# Written by `make lock`: wheels for ARM64, Python 3.13."]
    for wheel in sorted(found, key=lambda w: str(w["metadata"]["name"]).lower()):
        name, version = wheel["metadata"]["name"], wheel["metadata"]["version"]
        sha256 = wheel["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{sha256}")
    return "\n".join(lines) + "\n"


def prune(layer: Path) -> None:
    """Delete files that no function imports. Licences and the wheels' metadata are kept."""
    for path in sorted(layer.rglob("*"), reverse=True):
        if path.is_dir() and path.name in PRUNED_FOLDERS:
            shutil.rmtree(path)
        elif path.suffix in PRUNED_SUFFIXES or _is_note(path):
            path.unlink()
    for folder in sorted((p for p in layer.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _is_note(path: Path) -> bool:
    return path.name in PRUNED_NOTES and path.parent.suffix == ".dist-info"


def interpreter() -> str | None:
    """A Python of Lambda's version on this machine, to compile its bytecode; None without one."""
    for name in (sys.executable, f"python{PYTHON}"):
        ask = [name, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
        try:
            told = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:
            continue
        if told.strip() == PYTHON:
            return name
    return None


def compile_all(layer: Path, python: str) -> None:
    """Put bytecode beside every source; reproducible.

    A layer is read-only. Without bytecode every cold start compiles all that it imports, which
    takes three times as long as importing. The content of a layer never changes, so the bytecode is
    used without comparing it with its source.
    """
    command = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(layer), "-p", "/opt", str(layer)]  # the path that tracebacks show
    own = {"PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": "", "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(command, check=True, env=os.environ | own)


def problems(
    layer: Path,
    machine: str = MACHINE,
    newest: dict[str, tuple[int, ...]] = NEWEST,
) -> Iterator[str]:
    """Reasons why Lambda could not load shared objects of the layer."""
    objects = [p for p in sorted(layer.rglob("*")) if p.suffix == ".so" or ".so." in p.name]
    there = {p.name for p in objects} | RUNTIME
    for path in objects:
        name = path.relative_to(layer)
        with path.open("rb") as file:
            try:
                elf = ELFFile(file)
            except ELFError:
                yield f"{name}: not an ELF file"
                continue
            if elf["e_machine"] != machine:
                yield f"{name}: for {elf['e_machine']}, not {machine}"
            for library in sorted(_libraries(elf) - there):
                yield f"{name}: needs {library}, which neither the layer nor Lambda has"
            for wanted in sorted(_versions(elf)):
                kind, _, number = wanted.partition("_")
                if kind in newest and _number(number) > newest[kind]:
                    yield f"{name}: needs {wanted}"


def _libraries(elf: ELFFile) -> set[str]:
    sections = [s for s in elf.iter_sections() if isinstance(s, DynamicSection)]
    tags: list[Any] = [tag for section in sections for tag in section.iter_tags("DT_NEEDED")]
    return {tag.needed for tag in tags}


def _versions(elf: ELFFile) -> set[str]:
    """Symbol versions that it needs, such as GLIBC_2.27."""
    sections = [s for s in elf.iter_sections() if isinstance(s, GNUVerNeedSection)]
    return {
        version.name
        for section in sections
        for _, versions in section.iter_versions()
        for version in versions
    }


def _number(text: str) -> tuple[int, ...]:
    """2.27 as (2, 27); a name that is not a number (GLIBC_PRIVATE) is newer than all."""
    parts = text.split(".")
    return tuple(map(int, parts)) if all(p.isdigit() for p in parts) else (sys.maxsize,)


def pack(folder: Path, target: Path) -> Path:
    """A zip of the folder's files that depends only on their names and bytes."""
    with zipfile.ZipFile(target, "w") as archive:
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3  # Unix on every machine, so that the mode is used
            entry.external_attr = (0o100644 if path.suffix != ".so" else 0o100755) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes(), compresslevel=9)
    return target


def table(out: Path, zips: list[Path]) -> str:
    """Unpacked megabytes by layer and by its larger parts, and every zip's hash."""
    lines = []
    for archive in zips:
        layer = out / archive.stem
        packed = archive.stat().st_size / 1e6
        lines.append(f"{archive.stem:20} {megabytes(layer):7.1f} MB unpacked, {packed:.1f} zipped")
        parts = sorted(((megabytes(p), p.name) for p in (layer / "python").iterdir()), reverse=True)
        lines += [f"  {name:18} {size:7.1f}" for size, name in parts if size >= 0.5]
        lines.append(f"  sha256 {digest(archive)}")
    total = sum(megabytes(out / archive.stem) for archive in zips)
    if not any(path for archive in zips for path in (out / archive.stem).rglob("*.pyc")):
        lines.append(
            f"No bytecode: no python{PYTHON} is here. Cold starts will take a second more."
        )
    return "\n".join([*lines, f"{'together':20} {total:7.1f} MB, of at most {MOST}"])


def megabytes(path: Path) -> float:
    """Size of a file, or of all files of a folder, in 10⁶ bytes."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / 1e6


def digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fresh(folder: Path) -> Path:
    """The folder, emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def pip(*arguments: str) -> None:
    """Install wheels for Lambda's machine with pip, from this machine's package index."""
    platforms = [f"--platform={p}" for p in PLATFORMS]
    target = ["--implementation=cp", f"--python-version={PYTHON}", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    # pip would compare the packages' requirements with the Python that it runs on.
    command += [*platforms, *target, "--ignore-installed", "--ignore-requires-python", *arguments]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
