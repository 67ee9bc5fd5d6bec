"""The report of a training run, as an HTML page and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vireo.training.judging import charts
from vireo.training.judging.gates import Verdict, accepted
from vireo.training.judging.served import PROPERTIES, TOGETHER

_TEMPLATE = "report.html.jinja"
#: Columns of a protocol's table.
METRICS = ("recall@10", "recall@20", "recall@100", "ndcg@10", "hit@10", "hit@20", "hit@100")
#: Columns of the table of served lists.
LISTS = ("hit@10", "ndcg@10", "recall@20", "hit@20", *PROPERTIES, "coverage", "gini", "reach")


@dataclass(frozen=True)
class Contents:
    """The contents of a report. An empty field has no section."""

    title: str
    run: Mapping[str, Any]  #: facts for the header: run, tenant, times, version
    ours: str  #: the name of our system among the evaluations' systems
    verdicts: Sequence[Verdict]
    evaluations: Sequence[Mapping[str, Any]]  #: `backtest.Evaluation.as_dict`
    data: Mapping[str, Any] = field(default_factory=dict)  #: counts of the training data
    losses: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)  #: by feature
    config: Mapping[str, Any] = field(default_factory=dict)  #: may be nested


def document(contents: Contents) -> bytes:
    """The report as JSON, keys sorted; missing figures are null."""
    figures = asdict(contents) | {"accepted": accepted(list(contents.verdicts))}
    options = (
        orjson.OPT_INDENT_2
        | orjson.OPT_SORT_KEYS
        | orjson.OPT_SERIALIZE_NUMPY
        | orjson.OPT_APPEND_NEWLINE
    )
    return orjson.dumps(figures, option=options)


def render(contents: Contents) -> str:
    """The report as a single, self-contained HTML page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["value"] = _value
    environment.filters["change"] = change
    return environment.get_template(_TEMPLATE).render(
        contents=contents,
        accepted=accepted(list(contents.verdicts)),
        refused=[v for v in contents.verdicts if not v.passed],
        metrics=METRICS,
        columns=LISTS,
        meanings={**PROPERTIES, **TOGETHER},
        least_viewers=charts.LEAST_VIEWERS,
        protocols=[_protocol(e, contents.ours) for e in contents.evaluations],
        losses=Markup(charts.curves(contents.losses)) if contents.losses else None,
        importance=Markup(charts.importance(contents.importance)) if contents.importance else None,
        config=list(_flat(contents.config)),
    )


def _protocol(evaluation: Mapping[str, Any], ours: str) -> dict[str, Any]:
    """The template's variables of one evaluation."""
    systems = evaluation["systems"]
    compared = any(d["system"] == ours for d in evaluation["differences"])
    return {
        **evaluation,
        "best": {
            m: max(s["by_pause"]["all"][m] for s in systems if m in s["by_pause"]["all"])
            for m in METRICS
        },
        "pauses": [p for p in charts.STEPS if p in systems[0]["by_pause"]],
        "best_by_pause": {
            p: max(s["by_pause"][p]["hit@10"] for s in systems) for p in systems[0]["by_pause"]
        },
        "by_pause_chart": Markup(charts.by_pause(evaluation, ours, ("hit@10", "ndcg@10"))),
        "differences_chart": Markup(charts.differences(evaluation, ours)) if compared else None,
    }


def _figure(value: float | None, digits: int = 4) -> str:
    return "–" if value is None or not isfinite(value) else f"{value:.{digits}f}"


def change(cost: Mapping[str, Any]) -> str:
    """A relative difference with its interval, if there is one."""
    if cost.get("mean") is None:
        return "nothing was found"
    text = f"{cost['mean']:+.1%}"
    return text if cost["viewers"] < 2 else f"{text} [{cost['low']:+.1%}, {cost['high']:+.1%}]"


def _value(value: Any) -> str:
    """A setting or a count in a readable form."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(v) for v in value)
    return "–" if value is None else str(value)


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as (dotted name, value)."""
    rows: list[tuple[str, Any]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows
