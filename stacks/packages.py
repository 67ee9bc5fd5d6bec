"""The deployed code: our sources, and the layers built from them.

`scripts/build_layers.py` unpacks the layers' content to ``build/core`` and ``build/serving``. They
are not needed to look at a template (``sources``), but a function deployed that way would not
start.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aws_cdk import IgnoreMode
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

ROOT = Path(__file__).resolve().parent.parent
_LITTER = ["**/__pycache__", "**/*.pyc"]


class NotBuilt(Exception):
    """A layer has not been built."""


@dataclass(frozen=True)
class Packages:
    """Code of functions and layers.

    ``built`` takes the layers from ``build/``, and raises if they are missing.
    """

    built: bool

    def function(self, name: str) -> lambda_.Code:
        """The zip of a function: only its own folder of ``lambdas/``."""
        return lambda_.Code.from_asset(
            str(ROOT / "lambdas"),
            exclude=["/*", f"!/{name}", *_LITTER],
            ignore_mode=IgnoreMode.GIT,
        )

    def layer(self, name: str) -> lambda_.Code:
        """The zip of a layer: ``core`` is our own package, ``serving`` its dependencies.

        Raises:
            NotBuilt: it is not in ``build/``.
        """
        if not self.built:
            return _folder(ROOT / "layers" / name)
        folder = ROOT / "build" / name
        if not (folder / "python").is_dir():
            raise NotBuilt(f"{folder} holds no layer: run scripts/build_layers.py first")
        return lambda_.Code.from_asset(str(folder))

    def image(self, scope: Construct) -> s3_assets.Asset:
        """The source of the training image; its hash is the image's tag."""
        return s3_assets.Asset(
            scope,
            "Source",
            path=str(ROOT),
            exclude=[
                "/*",
                "!/lambdas",
                "/lambdas/*",
                "!/lambdas/training",
                "!/layers",
                "/layers/*",
                "!/layers/core",
                *_LITTER,
            ],
            ignore_mode=IgnoreMode.GIT,
        )


def _folder(folder: Path) -> lambda_.Code:
    return lambda_.Code.from_asset(str(folder), exclude=_LITTER, ignore_mode=IgnoreMode.GIT)
