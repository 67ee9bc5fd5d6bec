"""Who may import whom, what the request path loads, and that all pins agree."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from tests.sources import PACKAGE, ROOT, imports, modules, pins

#: Modules of the root, which import one another and nothing above them.
ROOTS = {"fields", "identity", "intervals", "keys", "patience", "ports", "projection", "settings"}
ROOTS |= {"letters", "tenants", "text", "vectors"}
#: What every part of the domain may import of ours: the root and three packages upon it.
SHARED = ROOTS | {"bundles", "catalogue", "viewers"}
DOMAINS = {
    "recommender": {"recommender"},
    "training": {"training", "recommender", "events", "jobs"},
    "jobs": {"jobs"},
    "events": {"events"},
    "patterns": {"patterns"},
}
#: What comes to the domain through a port only.
FORBIDDEN = {"boto3", "botocore", "aws_lambda_powertools", "redis", "moto", "requests", "urllib3"}
FORBIDDEN |= {"httpx", "socket", "http", "urllib"}
HEAVY = {"catboost", "pandas", "scipy", "jax", "boto3", "pyarrow", "duckdb", "ibis", "moto"}


def test_the_domain_knows_no_home_and_no_other_domain() -> None:
    checked = 0
    for domain, others in DOMAINS.items():
        for path in modules(PACKAGE / domain):
            for name in imports(path):
                first, _, rest = name.partition(".")
                assert first not in FORBIDDEN, f"{path}: {name}"
                if first == "vireo" and rest:
                    assert rest.split(".")[0] in SHARED | others, f"{path}: {name}"
                checked += 1
    assert checked


def test_the_shared_modules_know_shared_modules_only() -> None:
    for path in PACKAGE.glob("*.py"):
        # What all HTTP services share is made of Powertools; no domain imports it.
        forbidden = FORBIDDEN - ({"aws_lambda_powertools"} if path.name == "api.py" else set())
        for name in imports(path):
            first, _, rest = name.partition(".")
            assert first not in forbidden, f"{path}: {name}"
            if first == "vireo" and rest:
                assert rest.split(".")[0] in SHARED, f"{path}: {name}"


def test_homes_know_no_domain() -> None:
    for path in modules(PACKAGE / "homes"):
        for name in imports(path):
            if name.startswith("vireo."):
                assert name.split(".")[1] in {"homes", "ports", "settings", "identity"}, path


#: Names that read the wall clock or the environment, by the module they are of.
SECRETS = {"time": {"time", "time_ns", "sleep"}, "os": {"environ", "getenv"}}
SECRETS |= {"datetime": {"now", "utcnow", "today"}, "date": {"today"}}


def test_the_domain_reads_neither_the_clock_nor_the_environment() -> None:
    for domain in DOMAINS:
        for path in modules(PACKAGE / domain):
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


def test_handlers_are_short() -> None:
    for path in (ROOT / "lambdas").glob("*/handler.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 15, path


def request_path() -> list[str]:
    """The root's modules, the shared packages' and the recommender's, as dotted names."""
    files = [*PACKAGE.glob("*.py"), *modules(PACKAGE / "recommender")]
    files += [
        path for room in ("bundles", "catalogue", "viewers") for path in modules(PACKAGE / room)
    ]
    names = [".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in files]
    return sorted(n.removesuffix(".__init__") for n in names)


@pytest.mark.parametrize("root", ["request path", "laptop"])
def test_what_is_not_loaded(root: str) -> None:
    """In a process of its own: what tests import here says nothing."""
    wanted = request_path()
    if root == "laptop":
        wanted = ["vireo.homes.local", "vireo.homes.local.tokens", "vireo.homes.local.gateway"]
    program = "import importlib, sys\n"
    program += f"for name in {wanted!r}: importlib.import_module(name)\n"
    program += "print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )
    loaded = set(done.stdout.split())
    assert "vireo" in loaded
    assert not loaded & HEAVY


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
            assert len(text.splitlines()) <= 450, f"{path} is two things"
