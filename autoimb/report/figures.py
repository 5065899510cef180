"""Figures of the report: matplotlib figures as inline SVG, with colours of the page.

Colours are CSS variables, so that figures follow the page in dark mode and in print. Text remains
text in the font of the page. Figures contain no names from the user's data: these are in the
caption, where HTML escapes them. matplotlib is imported on the first call.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from autoimb.assessment.uncertainty import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["precision_recall", "progress", "reliability"]

# Placeholder colours that no palette contains; `_inline` replaces them by the page's variables.
VARIABLES = ("ink", "muted", "line", "accent", "second", "third")
COLORS = [f"#0a0b{i:02x}" for i in range(1, 7)]
INK, MUTED, LINE, ACCENT, SECOND, THIRD = COLORS
# Lines of the first contenders; further contenders are not drawn.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": ACCENT, "linewidth": 2.0},
    {"color": SECOND, "linewidth": 1.4},
    {"color": THIRD, "linewidth": 1.4, "linestyle": "--"},
)
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "autoimb",  # the same facts give the same bytes
    "font.size": 10,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}


def precision_recall(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    base_rate: float,
    point: tuple[float, float] | None = None,
) -> str:
    """Draw precision against recall for each contender.

    Parameters
    ----------
    curves : mapping of str to dict
        Precision and recall by contender; the first is the most prominent.
    base_rate : float
        Share of the positive class, which is the precision of chance.
    point : (recall, precision) or None
        Position of the winner's decision rule.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    with _figure(4.0) as (figure, axes):
        for (name, curve), style in zip(curves.items(), STYLES):
            axes.plot(curve["recall"], curve["precision"], label=name, **style)
        axes.axhline(base_rate, color=MUTED, linewidth=1, linestyle=":", label="chance")
        if point is not None:
            axes.plot(*point, "o", color=ACCENT, markersize=7, label="decision rule", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel="recall", ylabel="precision")
        axes.legend(frameon=False, loc="upper right")
        names = ", ".join(list(curves)[: len(STYLES)])
        return _inline(figure, name="pr", title=f"Precision against recall: {names}")


def reliability(bins: Sequence[Mapping[str, Any]]) -> str | None:
    """Draw the observed share of the positive class by predicted probability, with a 95 % band.

    Parameters
    ----------
    bins : sequence of dict
        Bins by rising probability, see `autoimb.report.build.Facts`.

    Returns
    -------
    str or None
        An ``<svg>`` element; None without bins.
    """
    if not bins:
        return None
    predicted = [b["predicted"] for b in bins]
    observed = [b["observed"] for b in bins]
    low, high = wilson(np.array(observed), np.array([b["count"] for b in bins]))
    top = min(1.0, 1.08 * max(*predicted, *high, 0.01))
    with _figure(3.4) as (figure, axes):
        axes.plot((0, top), (0, top), color=MUTED, linewidth=1, linestyle=":", label="perfect")
        axes.fill_between(predicted, low, high, color=ACCENT, alpha=0.15, linewidth=0)
        axes.plot(
            predicted, observed, "o-", color=ACCENT, linewidth=1.6, markersize=5, label="winner"
        )
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="probability given", ylabel="share observed")
        axes.legend(frameon=False, loc="upper left")
        return _inline(figure, name="rel", title="Observed share against given probability")


def progress(
    leaderboard: Sequence[Mapping[str, Any]], *, members: Collection[int] = ()
) -> str | None:
    """Draw the scores of complete trials in the order of their start.

    Parameters
    ----------
    leaderboard : sequence of dict
        Rows in any order.
    members : collection of int
        Numbers of the winner's trials.

    Returns
    -------
    str or None
        An ``<svg>`` element; None with fewer than two complete trials.
    """
    scored = [
        (r["trial"], s, r["error"] or 0.0)
        for r in leaderboard
        if r["status"] == "complete" and (s := r["score"]) is not None
    ]
    if len(scored) < 2:
        return None
    from matplotlib.ticker import MaxNLocator

    trials, values, errors = zip(*sorted(scored))
    with _figure(3.0) as (figure, axes):
        axes.errorbar(trials, values, yerr=errors, fmt="none", ecolor=LINE, elinewidth=1, zorder=1)
        axes.plot(trials, values, "o", color=SECOND, markersize=4, label="trial ± standard error")
        won = [(trial, value) for trial, value, _ in scored if trial in members]
        if won:
            axes.plot(*zip(*won), "o", color=ACCENT, markersize=7, label="part of the winner")
        axes.set(xlabel="trial", ylabel="search score")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, loc="lower right")
        return _inline(figure, name="trials", title="Search score of each complete trial")


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Create a figure, and use its settings until it is saved."""
    from matplotlib import style
    from matplotlib.figure import Figure

    # The default style makes figures independent of a matplotlibrc file of the user.
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(6.4, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        yield figure, axes


def _inline(figure: Figure, *, name: str, title: str) -> str:
    """Return the figure as an ``<svg>`` element whose ids are unique in the page."""
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Ids get a prefix, and the fixed font and size are removed, so that the page controls them.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    for color, variable in zip(COLORS, VARIABLES):
        svg = svg.replace(color, f"var(--{variable})")
    label = escape(title)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
