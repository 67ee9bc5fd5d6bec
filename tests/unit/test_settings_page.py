"""docs/settings.md names everything that operators set, with its default and what is allowed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import annotated_types
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tests.sources import ROOT
from vireo.recommender.candidates import Retrieval
from vireo.recommender.steering.campaigns import MOST, Campaign
from vireo.recommender.steering.experiments import Experiment, Variant
from vireo.recommender.steering.tuning import Tuning
from vireo.training.judging.gates import Thresholds
from vireo.training.models.item_to_item import NeighboursConfig
from vireo.training.models.ranker import RankerConfig
from vireo.training.models.recipe import CHOSEN_BY_LOG, RecipeConfig
from vireo.training.models.tower_model import TowerConfig

#: By heading of the page.
MODELS: dict[str, type[Any]] = {
    "Tuning": Tuning,
    "Experiments": Experiment,
    "Variants": Variant,
    "Campaigns": Campaign,
    "The recipe": RecipeConfig,
    "tower": TowerConfig,
    "neighbours": NeighboursConfig,
    "ranker": RankerConfig,
    "retrieval": Retrieval,
    "Gates": Thresholds,
}


def table(heading: str) -> dict[str, tuple[str, ...]]:
    """The cells after the name, by name, of the table below a heading."""
    page = (ROOT / "docs" / "settings.md").read_text()
    (section,) = re.findall(rf"^##+ `?{heading}`?$(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    return {name: tuple(cell.strip() for cell in rest.split(" | ")) for name, rest in rows}


@pytest.mark.parametrize("heading", MODELS)
def test_every_setting_is_on_the_page_with_its_default(heading: str) -> None:
    expected = dict(settings(MODELS[heading]))
    found = table(heading)
    assert list(found) == list(expected)
    assert {name: cells[: len(expected[name])] for name, cells in found.items()} == expected
    for name, cells in found.items():
        assert len(cells) == len(expected[name]) + 1, f"{name}: says what it does"


def test_the_recipe_has_no_more_parts_than_the_page() -> None:
    assert set(CHOSEN_BY_LOG) <= set(MODELS)


def settings(model: type[Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names with the expected cells: default, and for validated models what is allowed."""
    if issubclass(model, BaseModel):
        hints = get_type_hints(model, include_extras=True)
        for name, info in model.model_fields.items():
            default = default_of(info.get_default(call_default_factory=True), info)
            yield name, (default, allowed(hints[name], info))
    else:
        for field in dataclasses.fields(model):
            if field.name == "overrides":
                continue
            value = field.default
            yield field.name, ("by the log" if value is None else written(value),)


def default_of(value: Any, info: FieldInfo) -> str:
    return "required" if value is PydanticUndefined or info.is_required() else written(value)


def written(value: Any) -> str:
    """A default as JSON, as an operator would write it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{', '.join(written(v) for v in value)}]"
        case str():
            return f'"{value}"'
        case dict():
            return "{}"
        case _:
            return str(value)


def allowed(hint: Any, info: FieldInfo) -> str:
    """Bounds that the annotations state; a dash where they state none."""
    found: dict[str, Any] = {}
    for bound in [*info.metadata, *said_within(hint)]:
        match bound:
            case annotated_types.Ge(ge=value):
                found[">="] = value
            case annotated_types.Gt(gt=value):
                found[">"] = value
            case annotated_types.Le(le=value):
                found["<="] = value
            case annotated_types.Lt(lt=value):
                found["<"] = value
    low = next((f"{sign}{value:g}" for sign, value in found.items() if sign[0] == ">"), "")
    high = next((f"{sign}{value:g}" for sign, value in found.items() if sign[0] == "<"), "")
    if abs(found.get("<=", 0)) >= MOST:
        high = ""
    if abs(found.get(">=", 0)) >= MOST:
        low = ""
    signs = f"{low},{high}".replace(">=", "≥ ").replace("<=", "≤ ")
    signs = signs.replace(">", "> ").replace("<", "< ")
    return ", ".join(part for part in signs.split(",") if part) or "—"


def said_within(hint: Any) -> Iterator[Any]:
    """All that `Annotated` says anywhere within a type, but for the keys of its mappings."""
    if get_origin(hint) is Annotated:
        inner, *said = get_args(hint)
        for one in said:
            yield from getattr(one, "metadata", [one])
        yield from said_within(inner)
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from said_within(part)
    elif get_origin(hint) in (tuple, list):
        yield from said_within(get_args(hint)[0])
    elif get_origin(hint) is dict:
        yield from said_within(get_args(hint)[1])
