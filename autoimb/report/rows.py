"""The shapes of the facts: JSON values with names, from the search to the page."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = [
    "ComponentRow",
    "ConfusionFacts",
    "CurveFacts",
    "FailureRow",
    "LeaderboardRow",
    "ReliabilityBin",
    "ScoreRow",
    "WinnerFacts",
    "WinnerStrategy",
]


class WinnerStrategy(TypedDict):
    """One strategy of the winner; `summaries` holds the sentence of each component's option."""

    trial: int
    weight: float
    description: str
    strategy: dict[str, Any]
    summaries: dict[str, str]


class WinnerFacts(TypedDict):
    """What was chosen. `rule` says in words how probabilities become labels."""

    description: str
    strategies: list[WinnerStrategy]
    blend: bool
    rule: str


class ScoreRow(TypedDict):
    """One metric of one contender: ``"winner"``, ``"networks"``, ``"trees"``, ``"none"``, ...

    The last is ``"logistic regression"``.
    """

    name: str
    metric: str
    value: float | None
    error: float | None
    greater_is_better: bool


class CurveFacts(TypedDict):
    """A precision-recall curve, by rising recall; at most some 200 points."""

    precision: list[float]
    recall: list[float]


class ReliabilityBin(TypedDict):
    """Rows of near probability: the mean predicted, the share observed, how many."""

    predicted: float
    observed: float
    count: int


class ConfusionFacts(TypedDict):
    """Rows counted by true class (outer) and given label (inner)."""

    labels: list[str]
    matrix: list[list[int]]


class ComponentRow(TypedDict):
    """What an option of a component brought; `difference_to_none` is in higher-is-better units."""

    component: str
    option: str
    summary: str
    trials: int
    best: float | None
    error: float | None
    difference_to_none: float | None
    difference_error: float | None


class LeaderboardRow(TypedDict):
    """One strategy; the columns of ``leaderboard.csv``.

    `score` is of the rows that chose, and its own; `reported` stands in the rows of the result: its
    score without the optimism of the choice.
    `trial` is the one of its highest rung; `rung` is how many times the planned work it was given,
    and `seconds` what all its rungs took.
    """

    trial: int
    status: str
    score: float | None
    error: float | None
    reported: float | None
    seconds: float
    stage: str
    rung: float
    strategy: str
    resampling: str
    class_weight: str
    loss: str
    ensemble: str
    network: str
    reason: str


class FailureRow(TypedDict):
    """A trial that gave no score, and why."""

    trial: int
    strategy: str
    status: str
    reason: str
