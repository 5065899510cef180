"""How reports are written: Markdown tables, mean ranks, and differences with their errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

__all__ = ["beaten", "interval", "paired", "ranks", "table"]

DRAWS = 10_000


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Write cells as a Markdown table."""
    lines = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    shown = [f"| {' | '.join(cells)} |" for cells in lines]
    return [shown[0], "|" + "---|" * len(head), *shown[1:]]


def ranks(scores: pd.DataFrame) -> pd.Series:
    """Mean rank of the columns over the rows that all of them have; 1 is best."""
    return scores.dropna().rank(axis=1, ascending=False).mean()


def beaten(gap: pd.Series) -> float:
    """Return the share of tables on which a difference is above 0; a tie is half of one."""
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean())


def interval(gap: pd.Series) -> tuple[float, float]:
    """Return the middle 95 % of a mean difference, by drawing its tables again."""
    draws = np.random.default_rng(0).integers(len(gap), size=(DRAWS, len(gap)))
    low, high = np.quantile(gap.to_numpy()[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def paired(gap: pd.Series) -> str:
    """Write a mean difference and its error over tables, which one table has not."""
    return f"{gap.mean():+.4f}" + (f" ± {gap.sem():.4f}" if len(gap) > 1 else "")
