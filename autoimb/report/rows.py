"""The shapes of the facts: JSON values with names, from the search to the page."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = [
    "BlockRow",
    "ConfusionFacts",
    "CurveFacts",
    "FailureRow",
    "LeaderboardRow",
    "MethodRow",
    "ReferenceRow",
    "ReliabilityBin",
    "ScoreRow",
    "TestFacts",
    "TestRow",
    "TimeFacts",
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

    The last are the references: ``"prior"``, ``"logistic regression"``,
    ``"balanced random forest"``. `low` and `high` are the ends of the 95 % interval, and `error` is
    the standard error over rows that it stands for. In the asked metric the winner has its reported
    score, and what else was chosen among many is corrected by as much. `standing` is ``"within
    error"`` where a contender is better than the winner by no more than the error of their paired
    comparison, ``"ahead"`` where it is by more, and empty elsewhere.
    """

    name: str
    metric: str
    value: float | None
    error: float | None
    low: float | None
    high: float | None
    greater_is_better: bool
    standing: str


class ReferenceRow(TypedDict):
    """A reference against the reported score, in the asked metric and higher-is-better units.

    `difference` and its `error` are None where it was left out; `reason` then says why.
    """

    name: str
    difference: float | None
    error: float | None
    reason: str


class TestRow(TypedDict):
    """One metric on the test rows, with its 95 % interval and the standard error of that."""

    metric: str
    value: float
    error: float
    low: float
    high: float
    greater_is_better: bool


class TestFacts(TypedDict):
    """Rows that nothing but this saw: how many were given and predicted, and the scores on them.

    `counts` are the predicted rows of each class, by label; the asked metric comes first.
    """

    given: int
    rows: int
    counts: dict[str, int]
    scores: list[TestRow]


class CurveFacts(TypedDict):
    """A precision-recall curve, by rising recall; at most some 200 points."""

    precision: list[float]
    recall: list[float]


class BlockRow(TypedDict):
    """The scored rows of one block of time.

    `first` and `last` are its times as text. `rate` and `mean_probability` are of the positive
    class; the probabilities are out of fold. `score` is by the asked metric, and None where the
    rows define none or, in the first block, where nothing earlier calibrates.
    """

    first: str
    last: str
    rows: int
    positives: int
    rate: float
    mean_probability: float
    score: float | None


class TimeFacts(TypedDict):
    """What blocks of time gave; `rate` is that of the positive class which later rows should have.

    It has its `value`, the ends `low` and `high` of its 95 % interval, and the `rule` by which it
    is forecast.
    """

    rate: dict[str, Any]
    blocks: list[BlockRow]


class ReliabilityBin(TypedDict):
    """Rows of near probability: the mean predicted, the share observed, how many."""

    predicted: float
    observed: float
    count: int


class ConfusionFacts(TypedDict):
    """Rows counted by true class (outer) and given label (inner)."""

    labels: list[str]
    matrix: list[list[int]]


class MethodRow(TypedDict):
    """What matched duels say of an imbalance method.

    `word` is ``"helps"``, ``"hurts"``, ``"makes no difference"``, ``"not tested enough"``, ``"not
    tested"`` or ``"infeasible"``. Gains over the control network are in higher-is-better units with
    their 95 % intervals, which are not corrected for the number of methods, as `p_value` is; None
    where there was no duel. Of a balanced ensemble `sentence` has the gain over the other control,
    an ensemble as large on rows as they are, and `p_value` is the larger one where it beats both.
    """

    component: str
    option: str
    method: str
    word: str
    gain: float | None
    low: float | None
    high: float | None
    log_loss_gain: float | None
    log_loss_low: float | None
    log_loss_high: float | None
    p_value: float | None
    sentence: str


class LeaderboardRow(TypedDict):
    """One strategy; the columns of ``leaderboard.csv``.

    `score` is the search score, by which the search ranks strategies: the best of many are lucky on
    the rows that rank them. `reported` stands in the rows of the result: its score on new data.
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
