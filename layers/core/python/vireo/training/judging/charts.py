"""The report's charts, as SVG text; equal figures give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from math import isnan
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vireo.recommender.pauses import PAUSE_NAMES

OURS, GOOD, BAD, INK, FAINT = "#0b6e69", "#2e7d32", "#b3261e", "#333a40", "#d8dde1"
#: Muted colours for baselines, so that our system stands out.
OTHERS = ("#7c8a96", "#b08d57", "#8a7fa8", "#6b9080", "#a56a6a", "#5b7fa6", "#9aa36b")
#: Pauses that are disjoint and cover everything, in ascending order.
STEPS = ("0 s", "1–60 s", "1 min–1 h", *PAUSE_NAMES[1:])
#: Pauses with fewer viewers are too noisy for a chart; the tables have them.
LEAST_VIEWERS = 20
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "vireo",  # ids of clip paths would be random without it
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceff1",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def curves(losses: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Training curves: a panel per model, a line per series, over epochs or iterations."""

    def draw(figure: Figure) -> None:
        for ax, (model, series) in zip(_panels(figure, len(losses)), losses.items(), strict=True):
            for colour, (name, values) in zip((OURS, *OTHERS), series.items(), strict=False):
                ax.plot(range(1, len(values) + 1), values, color=colour, label=name, linewidth=1.6)
            ax.set_title(model)
            ax.set_xlabel("step of training")
            ax.legend()

    return _svg(draw, height=2.8)


def importance(features: Mapping[str, float], most: int = 25) -> str:
    """Bars of feature importance, the largest on top."""
    shown = sorted(features.items(), key=lambda f: (-f[1], f[0]))[:most][::-1]

    def draw(figure: Figure) -> None:
        (ax,) = _panels(figure, 1)
        ax.barh([name for name, _ in shown], [v for _, v in shown], color=OURS, height=0.65)
        ax.grid(axis="y", visible=False)
        ax.set_ylim(-0.6, len(shown) - 0.4)
        ax.set_xlabel("importance")

    return _svg(draw, height=0.6 + 0.22 * len(shown))


def by_pause(evaluation: Mapping[str, Any], ours: str, metrics: Sequence[str]) -> str:
    """A panel per metric: every system's mean by the pause before the request."""
    systems = evaluation["systems"]
    asked = systems[0]["by_pause"]
    pauses = [p for p in STEPS if p in asked and asked[p]["viewers"] >= LEAST_VIEWERS]

    def draw(figure: Figure) -> None:
        for ax, metric in zip(_panels(figure, len(metrics)), metrics, strict=True):
            others = iter(OTHERS * len(systems))
            for system in systems:
                mine = system["name"] == ours
                ax.plot(
                    pauses,
                    [system["by_pause"][p][metric] for p in pauses],
                    marker="o",
                    markersize=6 if mine else 4,
                    linewidth=2.4 if mine else 1.1,
                    color=OURS if mine else next(others),
                    zorder=3 if mine else 2,
                    label=system["name"],
                )
            ax.set_title(metric)
            ax.set_ylim(bottom=0)
            ax.tick_params(axis="x", labelsize=8, rotation=20)
        handles, names = ax.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)

    return _svg(draw, height=3.5)


def differences(evaluation: Mapping[str, Any], ours: str) -> str:
    """A panel per metric: our lead over each reference by pause, with its interval."""
    rows = [
        d
        for d in evaluation["differences"]
        if d["system"] == ours and (d["viewers"] >= LEAST_VIEWERS or d["pause"] == "all")
    ]
    metrics = list(dict.fromkeys(d["metric"] for d in rows))
    names = [
        (reference, pause)
        for reference in dict.fromkeys(d["reference"] for d in rows)
        for pause in ("all", *STEPS)
        if any(d["pause"] == pause and d["reference"] == reference for d in rows)
    ]

    def draw(figure: Figure) -> None:
        for place, (ax, metric) in enumerate(
            zip(_panels(figure, len(metrics)), metrics, strict=True)
        ):
            found = {(d["reference"], d["pause"]): d for d in rows if d["metric"] == metric}
            for height, name in enumerate(reversed(names)):
                _interval(ax, height, found[name])
            ax.axvline(0, color=INK, linewidth=0.8)
            ax.grid(axis="y", visible=False)
            labels = [f"{r}, {p}" for r, p in reversed(names)] if place == 0 else []
            ax.set_yticks(range(len(labels)), labels)
            ax.set_ylim(-0.7, len(names) - 0.3)
            ax.set_title(metric)

    return _svg(draw, height=0.9 + 0.21 * len(names))


def _interval(ax: Axes, height: float, found: Mapping[str, Any]) -> None:
    colour = GOOD if found["low"] > 0 else BAD if found["high"] < 0 else OTHERS[0]
    weight = 2.4 if found["pause"] == "all" else 1.4
    if not isnan(found["low"]):
        ax.plot([found["low"], found["high"]], [height, height], color=colour, linewidth=weight)
    ax.plot([found["mean"]], [height], "o", color=colour, markersize=2 + 2 * weight)


def _panels(figure: Figure, n: int) -> list[Axes]:
    return list(figure.subplots(1, n, squeeze=False)[0])


def _svg(draw: Any, height: float, width: float = 9.6) -> str:
    """The figure that ``draw`` draws, with its size in inches, as SVG."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
