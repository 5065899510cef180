"""Types of the facts in the report: JSON values with named fields."""

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
    """One strategy of the winner; `summaries` describes its option of each component."""

    trial: int
    weight: float
    description: str
    strategy: dict[str, Any]
    summaries: dict[str, str]


class WinnerFacts(TypedDict):
    """The chosen strategies; `rule` describes how probabilities become labels."""

    description: str
    strategies: list[WinnerStrategy]
    blend: bool
    rule: str


class ScoreRow(TypedDict):
    """One metric of one contender: ``"winner"``, ``"networks"``, ``"trees"``, ``"none"``, ...

    The last ones are the references: ``"prior"``, ``"logistic regression"``,
    ``"balanced random forest"``. `low` and `high` are the ends of the 95 % interval, and `error` is
    the corresponding standard error over rows. In the requested metric the winner has its reported
    score, and the other contenders that were chosen among many have the same correction.
    `standing` is ``"within error"`` if a contender is better than the winner by no more than the
    error of their paired comparison, ``"ahead"`` if by more, and empty otherwise.
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
    """Difference of a reference from the reported score, positive if the reference is better.

    `difference` and its `error` are None if the reference was omitted for the given `reason`.
    """

    name: str
    difference: float | None
    error: float | None
    reason: str


class TestRow(TypedDict):
    """One metric on the test rows, with its 95 % interval and standard error."""

    metric: str
    value: float
    error: float
    low: float
    high: float
    greater_is_better: bool


class TestFacts(TypedDict):
    """Test rows, which had no influence on the search: number of given and predicted rows, scores.

    `counts` are the predicted rows of each class, by label; the requested metric comes first.
    """

    given: int
    rows: int
    counts: dict[str, int]
    scores: list[TestRow]


class CurveFacts(TypedDict):
    """A precision-recall curve by rising recall, of at most 200 points."""

    precision: list[float]
    recall: list[float]


class BlockRow(TypedDict):
    """The scored rows of one block of time.

    `first` and `last` are the earliest and latest time as text. `rate` and `mean_probability` refer
    to the positive class; the probabilities are out of fold. `score` is that of the requested
    metric, and None if the rows define none, as well as in the first block, for which no earlier
    rows are available for calibration.
    """

    first: str
    last: str
    rows: int
    positives: int
    rate: float
    mean_probability: float
    score: float | None


class TimeFacts(TypedDict):
    """Results by block of time, and the expected rate of the positive class on later rows.

    The `rate` has a `value`, the ends `low` and `high` of its 95 % interval, and the forecasting
    `rule`.
    """

    rate: dict[str, Any]
    blocks: list[BlockRow]


class ReliabilityBin(TypedDict):
    """Rows of similar probability: mean prediction, observed share and number of rows."""

    predicted: float
    observed: float
    count: int


class ConfusionFacts(TypedDict):
    """Numbers of rows by true class (outer) and predicted label (inner)."""

    labels: list[str]
    matrix: list[list[int]]


class MethodRow(TypedDict):
    """Result of matched duels for an imbalance method.

    `word` is ``"helps"``, ``"hurts"``, ``"makes no difference"``, ``"not tested enough"``, ``"not
    tested"`` or ``"infeasible"``. Gains over the control network are in higher-is-better units with
    their 95 % intervals, which are not corrected for the number of methods, unlike `p_value`; they
    are None without a duel. For a balanced ensemble, `sentence` has the gain over the other
    control, an ensemble of the same size on unbalanced rows, and `p_value` is the larger of the two
    if the ensemble is better than both.
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

    `score` is the search score, by which the search ranks strategies; it is optimistic for the best
    of many. `reported` is the expected score on new data, in the rows of the result.
    """

    trial: int
    status: str
    score: float | None
    error: float | None
    reported: float | None
    seconds: float
    stage: str
    strategy: str
    resampling: str
    class_weight: str
    loss: str
    ensemble: str
    network: str
    reason: str


class FailureRow(TypedDict):
    """A trial without a score, with the reason."""

    trial: int
    strategy: str
    status: str
    reason: str
