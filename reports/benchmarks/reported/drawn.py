"""Searches whose out-of-fold predictions are drawn, so that hundreds of them take minutes.

A row's log-odds are what can be known of it, an error that all strategies share, one of the
strategy, one of the network that predicts it, and a shift of the network's fold. What is handed
over is the mean of the folds' networks.
"""

from __future__ import annotations

import numpy as np

from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import Reported, Score, errors_needed
from autoimb.evaluation.replay import replay
from reports.benchmarks.rows import Row

__all__ = ["as_row", "measured"]

STRATEGIES, FOLDS = 15, 5
SHARED, OWN, NETWORK, SHIFT = 0.4, 0.25, 0.4, 0.15  # standard deviations of log-odds
TEST_ROWS = 50_000


def measured(number: int, *, rare: int, rate: float, signal: float, metric: str) -> Row:
    """Draw the predictions of a search, choose by them, and score the choice on further rows.

    Parameters
    ----------
    number : int
        Seed.
    rare : int
        Rows of the positive class.
    rate : float
        Its share.
    signal : float
        How far its log-odds lie above those of the others, in standard deviations.
    metric : str

    Returns
    -------
    dict
        What is reported, what chose, what the mean of the networks gives (``true``), and one of
        them (``one``).
    """
    random = np.random.default_rng([number, 2])
    y, known = _rows(rare, round(rare / rate), signal, random)
    judge = Judge(get_metric(metric, n_classes=2, positive=1), y, stratified_groups(y, FOLDS))
    prior = np.log(rate / (1 - rate))
    shift = random.normal(0, SHIFT, (STRATEGIES, FOLDS))[:, judge.group]
    logits = prior + known + random.normal(0, NETWORK, known.shape) + shift
    found = [_proba(logit) for logit in logits]
    singles = [(proba, judge.labels(proba)) for proba in found]
    scores = [judge.score(*single) for single in singles]
    chosen = _chosen(judge, singles)
    control = np.arange(STRATEGIES) % 2 == 0
    before = scores[chosen]
    how = {"control": control, "chosen": chosen, "raw": before.value}
    reported = replay(judge, singles, **how, random_state=0)
    further, knows = _rows(round(TEST_ROWS * rate), TEST_ROWS, signal, random)
    rule = judge.fit_rule(found[chosen])
    errors = random.normal(0, NETWORK, (FOLDS, TEST_ROWS)) + random.normal(0, SHIFT, (FOLDS, 1))
    each = [_proba(prior + knows[chosen] + error) for error in errors]
    true, one = (judge.metric(further, p, rule.apply(p)) for p in (np.mean(each, axis=0), each[0]))
    return as_row(reported, before) | {"true": true, "one": one}


def as_row(reported: Reported, before: Score) -> Row:
    """Write what is reported of a result, and the score of the rows that chose it."""
    return {
        "reported": reported.value,
        "reported_low": reported.low,
        "reported_high": reported.high,
        "replays": reported.replays,
        "before": before.value,
        "before_error": before.error,
    }


def _rows(
    rare: int, number: int, signal: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw classes (n,) and what each strategy knows of the log-odds, (K, n)."""
    y = (np.arange(number) < rare).astype(np.int64)
    ratio = signal * (random.normal(size=number) + signal * y) - signal**2 / 2
    shared = random.normal(0, SHARED, number)
    return y, ratio + shared + random.normal(0, OWN, (STRATEGIES, number))


def _proba(logit: np.ndarray) -> np.ndarray:
    positive = 1 / (1 + np.exp(-logit))
    return np.column_stack([1 - positive, positive])


def _chosen(judge: Judge, singles: list[tuple[np.ndarray, np.ndarray]]) -> int:
    """Choose as law 3 has it: every other strategy is a control."""
    utilities = np.array([judge.score(*single).utility for single in singles])
    control = 2 * int(utilities[::2].argmax())
    treated = 1 + 2 * int(utilities[1::2].argmax())
    gain, error = judge.compare(singles[treated], singles[control])
    return treated if gain > error * errors_needed(len(utilities[1::2])) else control
