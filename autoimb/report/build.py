"""The report: facts of a finished search, and one page of HTML that a risk officer can read.

`Facts` has plain JSON values, so that ``autoimb report RUN`` can write the page again from
``run.json`` alone. `render` adds only text, order and figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from autoimb.assessment.checks import REFERENCE_ERRORS, Finding
from autoimb.assessment.uncertainty import expected_in_words, with_interval
from autoimb.report.formats import FILTERS, count, percent, plain

if TYPE_CHECKING:
    import jinja2

__all__ = ["Facts", "Row", "render"]

RECALL_TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FORECASTS = {
    "all": "all blocks of time",
    "decaying": "a mean in which later blocks of time weigh more",
    "newest": "the newest block of time",
}
NAMES = {
    "winner": "Winner",
    "networks": "Networks alone",
    "trees": "Trees alone",
    "none": "No imbalance method",
    "prior": "Class rates alone",
    "logistic regression": "Logistic regression",
    "balanced random forest": "Balanced random forest",
}

Row = dict[str, Any]  # a row of a table, as JSON values by column


@dataclass(frozen=True)
class Facts:
    """Content of the report as JSON values.

    Values that are undefined are None. Intervals are of 95 %, with the ends ``low`` and ``high``.

    Parameters
    ----------
    request : dict
        Parameters of the search: data, target, metric, time_budget, n_trials, cv, random_state,
        components, costs.
    profile : dict
        Counts of the table: rows, columns (kind -> number), classes (list of label, count, share),
        positive (label), missing (column -> rows), cardinality (column -> levels).
    plan : dict
        Evaluation of the study: folds, scored_rows and further settings.
    winner : dict
        The chosen strategy or blend: its ``description``; ``strategies`` with trial, weight,
        description, strategy (JSON) and the summary of its option of each component; whether it is
        a ``blend``; and the ``rule`` that turns probabilities into labels, in words.
    scores : list of dict
        Scores on out-of-fold rows, first by the requested metric, one row for each metric and
        contender: ``"winner"``, its ``"networks"``, ``"trees"`` (the best tree model), ``"none"``
        (the best strategy without imbalance method, unless it is the winner) and the references. A
        row has the value, its interval, the corresponding standard error over rows, and whether
        greater is better. In the requested metric the winner has its reported score, and the other
        contenders that were chosen among many have the same correction; ``standing`` is ``"within
        error"`` if a contender is better than the winner by no more than the error of their paired
        comparison, ``"ahead"`` if by more, and empty otherwise.
    curves : dict of str to dict
        Precision and recall of the positive class by contender, by rising recall.
    confusion : dict
        The winner's out-of-fold labels, by decision rules that were fitted without the fold: the
        class labels, and the matrix of rows by true class (outer) and predicted class (inner).
    leaderboard : list of dict
        All strategies, best first, with the columns of ``leaderboard.csv``. ``score`` is the search
        score, by which the search ranks strategies; it is optimistic for the best of many.
        ``reported`` is the expected score on new data, in the rows of the result.
    verdict : str
        Text: whether the rare class needs special treatment on this table, what the result is, and
        which references are better.
    timing : dict of str to float
        Seconds by stage of the search.
    versions : dict of str to str
        Versions of the packages that computed the result.
    notices : list of str
        Notices about the data or the search.
    reliability : list of dict
        Bins of rows of similar probability of the positive class, by rising probability: the mean
        ``predicted`` by the winner out of fold, the share ``observed``, and the ``count`` of rows.
    created : str
        Time at which the search ended.
    methods : list of dict
        Results of paired comparisons for each imbalance method. ``word`` is ``"helps"``,
        ``"hurts"``, ``"makes no difference"``, ``"not tested enough"``, ``"not tested"`` or
        ``"infeasible"``. Gains over the control network are in higher-is-better units, with
        intervals that are not corrected for the number of methods, unlike ``p_value``; they are
        None without a comparison. For a balanced ensemble, ``sentence`` has the gain over the other
        control, an ensemble of the same size on unbalanced rows, and ``p_value`` is the larger of
        the two if the ensemble is better than both.
    references : list of dict
        Difference of each reference model from the winner on the same rows, positive if the
        reference is better, and the error of the comparison; None if the reference was omitted for
        the given ``reason``.
    checks : list of dict
        Findings of the checks, as `autoimb.assessment.checks.Finding.to_json` writes them.
    test : dict or None
        Scores on test rows, which had no influence on the search: the number of rows that were
        ``given`` and of those predicted (``rows``), the latter by class (``counts``), and
        ``scores`` by metric, the requested one first.
    reported : dict
        The winner's score without the optimism of the choice, in the form of
        `autoimb.assessment.uncertainty.Reported`, and `averaging`, the effect of averaging several
        networks.
    time : dict or None
        Expected ``rate`` of the positive class on later rows (value, interval, and the forecasting
        rule), and ``blocks``: the scored rows by block of time, with the earliest and latest time
        as text, the observed rate and mean out-of-fold probability of the positive class, and the
        score, which is None in the first block, as no earlier rows are available for calibration.
        None if rows have no times.
    deployed : dict of str to float or None
        Resources and limits of the winner, as `autoimb.evaluation.limits.Limits.deployed` writes
        them, and ``bytes``, the size of its file.
    """

    request: Row
    profile: Row
    plan: Row
    winner: Row
    scores: list[Row]
    curves: dict[str, dict[str, list[float]]]
    confusion: Row
    leaderboard: list[Row]
    verdict: str
    timing: dict[str, float]
    versions: dict[str, str]
    notices: list[str]
    reliability: list[Row]
    created: str
    methods: list[Row]
    references: list[Row]
    checks: list[Row]
    test: Row | None
    reported: Row
    deployed: dict[str, float | None]
    time: Row | None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of the checks."""
        return tuple(Finding(**row) for row in self.checks)

    @property
    def result_lines(self) -> tuple[str, ...]:
        """Lines for the result, the expected score, the expected rate and the verdict."""
        reported = self.reported
        expected = expected_in_words(
            self.request["metric"],
            *(reported[name] for name in ("value", "low", "high")),
            estimate=reported["estimate"],
        )
        rate = (self.rate_sentence,) if self.time else ()
        return (self.winner["description"], expected, *rate, self.verdict)

    @property
    def rate_sentence(self) -> str:
        """The expected rate on later rows in words; empty if rows have no times."""
        if not self.time:
            return ""
        rate = self.time["rate"]
        value, low, high = (percent(rate[name], 2) for name in ("value", "low", "high"))
        return (
            f"Expected rate of {self.profile['positive']} on later rows: {value} (95 % interval "
            f"{low} to {high}), by {FORECASTS[rate['rule']]}; probabilities are at this rate."
        )

    @property
    def test_sentence(self) -> str:
        """The score on the test rows in words; empty without test rows."""
        if not self.test:
            return ""
        test, positive, asked = self.test, self.profile["positive"], self.test["scores"][0]
        metric = asked["metric"].replace("_", " ")
        score = with_interval(asked["value"], asked["low"], asked["high"])
        part = "" if test["rows"] == test["given"] else f" (some of {count(test['given'])})"
        return (
            f"Test: {metric} {score} on {count(test['rows'])} rows{part} that nothing else saw, "
            f"{count(test['counts'][positive])} of class {positive}."
        )

    @property
    def deployed_sentence(self) -> str:
        """Size and prediction time of the deployed winner in words, with the user's limits."""
        deployed = self.deployed

        def limit_text(name: str, unit: float) -> str:
            limit, counted = deployed[f"max_{name}"], deployed[f"counted_{name}"]
            if limit is None or counted is None:
                return ""
            return f" (counted {counted / unit:.3g}, at most {limit / unit:.3g})"

        size, seconds = (deployed["bytes"] or 0.0) / 1e6, deployed["seconds"] or 0.0
        return (
            f"The file has {size:.3g} MB{limit_text('bytes', 1e6)}; {deployed['rows']:,} rows take "
            f"{seconds:.3g} s on one thread of this machine{limit_text('seconds', 1.0)}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the facts as strict JSON values (numpy numbers unpacked, NaN as None)."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Facts:
        """Build the facts from the result of `to_json`."""
        return cls(**data)


def render(facts: Facts) -> str:
    """Return the report as HTML.

    Parameters
    ----------
    facts : Facts
        Content of the report.

    Returns
    -------
    str
        One HTML page without scripts or external resources; every name from the data is escaped.
    """
    from autoimb.report import figures

    content = Facts.from_json(facts.to_json())
    positive = str(content.profile["positive"])
    base_rate = next(c["share"] for c in content.profile["classes"] if c["label"] == positive)
    decided = _decision_counts(content.confusion, positive)
    members = {strategy["trial"] for strategy in content.winner["strategies"]}
    failed = sorted(
        (row for row in content.leaderboard if row["status"] != "complete"),
        key=lambda row: row["trial"],
    )
    return _template().render(
        facts=content,
        positive=positive,
        base_rate=base_rate,
        decided=decided,
        names=NAMES,
        errors=REFERENCE_ERRORS,
        operating_points=_operating_points(content.curves["winner"], base_rate),
        statuses=Counter(row["status"] for row in content.leaderboard),
        members=members,
        failed=failed,
        failures=Counter((row["status"], row["reason"]) for row in failed),
        pr_figure=figures.precision_recall(
            {NAMES.get(name, name): curve for name, curve in content.curves.items()},
            base_rate=base_rate,
            point=(decided["recall"], decided["precision"]) if decided["hits"] else None,
        ),
        reliability_figure=figures.reliability(content.reliability),
        progress_figure=figures.progress(content.leaderboard, members=members),
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS
    source = files("autoimb.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _decision_counts(confusion: Row, positive: str) -> Row:
    """Count the positive class's rows, hits and alarms."""
    matrix, index = confusion["matrix"], confusion["labels"].index(positive)
    hits, actual, alarms = matrix[index][index], sum(matrix[index]), sum(r[index] for r in matrix)
    return {
        "actual": actual,
        "hits": hits,
        "alarms": alarms,
        "recall": hits / actual if actual else None,
        "precision": hits / alarms if alarms else None,
    }


def _operating_points(curve: dict[str, list[float]], base_rate: float) -> list[Row]:
    """Return the precision and the alarms by which the winner reaches each target recall."""
    points: list[Row] = []
    on_curve = list(zip(curve["precision"], curve["recall"]))
    for target in RECALL_TARGETS:
        # The best point is the most precise one that reaches the target recall.
        reached = [(p, r) for p, r in on_curve if r >= target and p > 0]
        if reached:
            precision, recall = max(reached)
            alarms = 1000 * recall * base_rate / precision
            points.append({"target": target, "precision": precision, "alarms": alarms})
    return points
