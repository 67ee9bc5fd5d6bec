"""Who may import whom, what the request path loads, and that all pins agree."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.sources import PACKAGE, ROOT, imports, modules, pins

#: Modules of the root, which import one another and nothing above them.
ROOTS = {
    "fields",
    "identity",
    "intervals",
    "keys",
    "letters",
    "parameters",
    "patience",
    "ports",
    "problems",
}
ROOTS |= {"projection", "settings", "tenants", "text", "vectors"}
#: What every part of the domain may import of ours: the root and three packages upon it.
SHARED = ROOTS | {"bundles", "catalogue", "viewers"}
#: What the modules of every package may import of ours besides their own.
WALLS = {
    "bundles": ROOTS,
    "catalogue": ROOTS,
    "viewers": ROOTS,
    "jobs": {"ports"},
    "homes": {"identity", "ports", "settings"},
    "events": SHARED,
    "recommender": SHARED,
    "training": SHARED | {"events", "jobs", "recommender"},
    "tenancy": SHARED | {"jobs", "recommender"},
}
#: Packages that reach the world; all others do so through ports only.
WORLDLY = {"homes"}
#: Rooms of training, every one upon those before it, and upon the run document.
FLOORS = ("run", "data", "generator", "models", "judging")
#: What comes to the domain through a port only.
FORBIDDEN = {"boto3", "botocore", "aws_lambda_powertools", "redis", "moto", "requests", "urllib3"}
FORBIDDEN |= {"httpx", "socket", "http", "urllib"}
HEAVY = {"catboost", "pandas", "scipy", "jax", "boto3", "pyarrow", "duckdb", "ibis", "moto"}


def ours(path: Path) -> Iterator[str]:
    """Names without ``vireo.`` of what a file imports of ours."""
    return (n.removeprefix("vireo.") for n in imports(path) if n.startswith("vireo."))


def test_packages_know_what_their_walls_let_in() -> None:
    assert {p.parent.name for p in PACKAGE.glob("*/__init__.py")} == WALLS.keys()
    for package, others in WALLS.items():
        for path in modules(PACKAGE / package):
            for name in ours(path):
                assert name.split(".")[0] in others | {package}, f"{path}: {name}"


def test_the_root_knows_itself_only() -> None:
    for path in PACKAGE.glob("*.py"):
        for name in ours(path):
            assert name.split(".")[0] in ROOTS, f"{path}: {name}"


def test_the_domain_reaches_the_world_through_ports() -> None:
    for path in modules(PACKAGE):
        if path.relative_to(PACKAGE).parts[0] in WORLDLY:
            continue
        # What all HTTP services share is made of Powertools; no domain imports it.
        forbidden = FORBIDDEN - ({"aws_lambda_powertools"} if path.name == "api.py" else set())
        for name in imports(path):
            assert name.partition(".")[0] not in forbidden, f"{path}: {name}"


def test_rooms_of_training_stand_upon_one_another() -> None:
    for floor, room in enumerate(FLOORS):
        for path in modules(PACKAGE / "training" / room):
            for name in ours(path):
                first, _, rest = name.partition(".")
                if first == "training":
                    assert rest.split(".")[0] in FLOORS[: floor + 1], f"{path}: {name}"


def test_no_import_goes_in_a_circle() -> None:
    files = {dotted(path): path for path in modules(PACKAGE)}
    graph = {}
    for name, path in files.items():
        wanted = [w for n in imports(path) for w in (n, n.rpartition(".")[0])]
        graph[name] = {w for w in wanted if w in files and w != name}
        # A package that only offers its own modules' names is no circle.
        if path.name == "__init__.py":
            graph[name] = {w for w in graph[name] if not w.startswith(name + ".")}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_rooms_are_small() -> None:
    rooms: dict[Path, list[int]] = {}
    for path in modules(PACKAGE):
        length = len(path.read_text(encoding="utf-8").splitlines())
        rooms.setdefault(path.parent, []).append(length)
    whole = sum(sum(lines) for lines in rooms.values())
    for room, lines in rooms.items():
        assert len(lines) < 30, f"{room} has {len(lines)} files"
        assert sum(lines) < 0.2 * whole, f"{room} holds {sum(lines) / whole:.0%} of the lines"
    assert len(rooms[PACKAGE]) - 1 < 16, "the root has too many modules"


#: Names that read the wall clock or the environment, by the module they are of.
SECRETS = {"time": {"time", "time_ns", "sleep"}, "os": {"environ", "getenv"}}
SECRETS |= {"datetime": {"now", "utcnow", "today"}, "date": {"today"}}


def test_the_domain_reads_neither_the_clock_nor_the_environment() -> None:
    for package in WALLS.keys() - WORLDLY - {"jobs"}:  # a terminal's bars may look at the clock
        for path in modules(PACKAGE / package):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    assert node.attr not in SECRETS.get(node.value.id, ()), (
                        f"{path}:{node.lineno}: {node.value.id}.{node.attr}"
                    )


def test_only_the_edges_know_homes() -> None:
    for path in modules(ROOT / "lambdas"):
        if path.name != "handler.py":
            assert not [n for n in imports(path) if n.startswith("vireo.homes")], path


#: What stacks may import of ours; the columns of collected events are those of the Glue table.
FOR_STACKS = ("vireo.settings.", "vireo.ports.", "vireo.events.models.COLUMNS")


def test_stacks_know_settings_ports_and_columns_only() -> None:
    ours = {"vireo", "recommend", "events", "tracking", "delivery", "training", "scripts", "tests"}
    for path in [ROOT / "app.py", *modules(ROOT / "stacks")]:
        for name in imports(path):
            first = name.partition(".")[0]
            if first in ours:
                assert name.startswith(FOR_STACKS), f"{path}: {name}"
            assert first not in {"boto3", "botocore", "requests"}, f"{path}: {name}"


def test_tests_share_what_is_beside_them_and_not_what_is_in_them() -> None:
    for path in modules(ROOT / "tests"):
        for name in imports(path):
            assert not re.match(r"tests\..*\btest_", name), f"{path}: {name}"


def test_handlers_are_short() -> None:
    for path in (ROOT / "lambdas").glob("*/handler.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 15, path


def dotted(path: Path) -> str:
    """The name by which a module is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def request_path() -> list[str]:
    """The root's modules, the shared packages' and the recommender's."""
    files = [*PACKAGE.glob("*.py")]
    for room in ("bundles", "catalogue", "recommender", "viewers"):
        files += modules(PACKAGE / room)
    return sorted(dotted(path) for path in files)


@pytest.mark.parametrize("root", ["request path", "laptop"])
def test_what_is_not_loaded(root: str) -> None:
    """In a process of its own: what tests import here says nothing."""
    wanted = request_path()
    if root == "laptop":
        wanted = ["vireo.homes.local", "vireo.homes.local.tokens", "vireo.homes.local.gateway"]
    program = "import importlib, sys\n"
    program += f"for name in {wanted!r}: importlib.import_module(name)\n"
    program += "print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    loaded = done.stdout.split()
    assert "vireo" in loaded
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert not [name for name in loaded if name.startswith(("vireo.jobs", "vireo.training"))]


def test_layers_pin_what_the_laptop_has() -> None:
    laptop = pins(ROOT / "requirements.txt")
    files = [*ROOT.glob("layers/*/requirements.txt"), *ROOT.glob("lambdas/*/requirements.txt")]
    assert files
    for path in files:
        for name, version in pins(path).items():
            assert laptop.get(name) == version, f"{path}: {name}"


def test_modules_say_why_they_exist_and_are_short() -> None:
    for folder in ("layers/core/python", "lambdas", "scripts", "stacks", "tests"):
        for path in modules(ROOT / folder):
            text = path.read_text(encoding="utf-8")
            assert ast.get_docstring(ast.parse(text)), f"{path} does not say why it exists"
            assert len(text.splitlines()) <= 400, f"{path} is two things"
