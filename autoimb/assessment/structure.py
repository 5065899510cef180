"""Detection of dependent rows: days and repeating keys whose labels random folds leak.

A quick model is scored twice on the same rows, once with random folds and once with folds that hold
out whole days, or whole values of a column. Where rows are independent of the column, both are
random splits and their scores differ by chance alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.stats import poisson
from threadpoolctl import threadpool_limits

from autoimb.arrays import Floats, Ints, Mask
from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import jackknife
from autoimb.data.dataset import Dataset
from autoimb.data.folds import stratified
from autoimb.data.schema import ID_NAME, Schema
from autoimb.randomness import Purpose, stream

__all__ = ["Difference", "Structure", "find_structure"]

# Share of the budget for the comparison of folds (reports/design/undeclared-structure.md).
_BUDGET_SHARE = 0.04


_FOLDS, _REPEATS = 3, 3
_BLOCKS = 20  # of the jackknife
_INNER_PARTS = 4  # cross-fitting of the rates of values among training rows
_PRIOR_ROWS = 5.0  # the weight of the overall rate in the rate of a value
_MIN_LEVELS = 25  # categories with fewer levels are no keys
_MIN_VALUES = 30
_MIN_ROWS_PER_VALUE = 1.5
_MAX_SHARE_OF_VALUE = 0.1  # a more frequent value would unbalance the folds
_ENOUGH_ROWS_PER_VALUE = 20  # large tables are thinned within values down to this
_MIN_CLASS_ROWS = 20
_MAX_CLASSES = 10
_MAX_COLUMNS = 25
_SCREENED_CELLS = 4_000_000  # that tell which columns are the strongest
_MAX_NUMBERS = 100  # in wider tables a whole number needs the name of a key
_MAX_CANDIDATES = 4
_MIN_ROWS, _MAX_ROWS = 1_000, 10_000
_SECONDS_PER_CELL = 1.5e-8  # of one tree, for each training row and column
_TREES = 20
_DOUBTFUL_ERRORS = (1.0, 5.0)  # between them a difference is measured on further splits
_ORDER_ERRORS = 5.0


@dataclass(frozen=True)
class Difference:
    """Scores of the quick model with and without rows that share a value in training.

    Attributes
    ----------
    column : str
    is_date : bool
        Whether whole days are held out; otherwise whole values.
    random, grouped : float
        Average precision with random folds, and with whole days or values held out.
    error : float
        Standard error of the difference.
    """

    column: str
    is_date: bool
    random: float
    grouped: float
    error: float

    @property
    def errors(self) -> float:
        """The difference in standard errors; positive where random folds score higher."""
        gap = self.random - self.grouped
        return gap / self.error if self.error > 0 else math.copysign(math.inf, gap) if gap else 0.0


@dataclass(frozen=True)
class Structure:
    """Signs that rows are not independent.

    Attributes
    ----------
    compared : tuple of Difference
        Comparison of random and grouped folds for each column that may tie rows together.
    order : str
        Reason why the order of the rows may carry time; empty if there is none.
    """

    compared: tuple[Difference, ...] = ()
    order: str = ""

    def undeclared(self, errors: float) -> tuple[Difference, ...]:
        """Return the differences that exceed this many standard errors, the clearest first.

        Holm's correction gives the family of all comparisons the level of a single one.
        """
        level = 1 - NormalDist().cdf(errors)
        ranked = sorted(self.compared, key=lambda difference: -difference.errors)
        for number, difference in enumerate(ranked):
            # The clearest of m differences is tested at level / m, the next at level / (m - 1), and
            # so on until one fails.
            limit = NormalDist().inv_cdf(1 - level / (len(ranked) - number))
            if difference.errors <= limit:
                return tuple(ranked[:number])
        return tuple(ranked)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A column that may tie rows together.

    Attributes
    ----------
    column : str
    is_date : bool
    key : ndarray of shape (n,), int64
        Code of each row's day or value, from 0.
    category : int or None
        Position of the column among the category columns; None for other columns.
    """

    column: str
    is_date: bool
    key: Ints
    category: int | None = None


def find_structure(
    dataset: Dataset,
    schema: Schema,
    *,
    time_budget: float | None,
    random_state: int,
) -> Structure:
    """Compare random folds with folds of whole days and of whole values of repeating keys.

    Parameters
    ----------
    dataset : Dataset
        Rows of the study. Sees: all rows and labels.
    schema : Schema
        Kinds of the columns, from which dates are recognised.
    time_budget : float or None
        Seconds of the whole search; it limits the number of rows. No clock is read.
    random_state : int

    Returns
    -------
    Structure
    """
    candidates = _candidates(dataset, schema)
    max_rows = _MAX_ROWS
    # The rows are limited so that all fits together take their share of the budget.
    if time_budget is not None and candidates:
        n_columns = dataset.columns.numbers.shape[1] + dataset.columns.codes.shape[1]
        trees = _TREES if dataset.n_classes == 2 else 2 * _TREES
        fits = 2 * _FOLDS * len(candidates)
        cost = fits * trees * min(n_columns, _MAX_COLUMNS) * _SECONDS_PER_CELL
        max_rows = int(np.clip(_BUDGET_SHARE * time_budget / cost, _MIN_ROWS, _MAX_ROWS))
    compared = []
    with threadpool_limits(1):
        for number, candidate in enumerate(candidates):
            random = stream(Purpose.STRUCTURE, random_state, index=number)
            difference = _measured(dataset, candidate, max_rows, random)
            if difference is not None:
                compared.append(difference)
    return Structure(tuple(compared), _order(dataset, candidates))


def _merged_classes(dataset: Dataset, rows: Ints) -> tuple[Ints, int]:
    """Return class codes for the quick model, and their number; rare classes are merged."""
    y = dataset.y[rows]
    if dataset.n_classes == 2:
        return (y == dataset.positive).astype(np.int64), 2
    counts = np.bincount(y, minlength=dataset.n_classes)
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    n_classes = int(np.clip((counts >= _MIN_CLASS_ROWS).sum(), 2, _MAX_CLASSES))
    return np.minimum(rank[y], n_classes - 1), n_classes


# --- candidates -----------------------------------------------------------------------------------


def _candidates(dataset: Dataset, schema: Schema) -> list[_Candidate]:
    """Return the columns that are most likely to tie rows together: dates, then keys."""
    columns = dataset.columns
    date_columns = [column for column in schema.features if column.kind == "date"]
    dates = {f"{column.name}.days": column.name for column in date_columns}
    parts = {name for column in date_columns for name in column.numbers}
    wide = len(columns.number_names) > _MAX_NUMBERS
    candidates = []
    for name, values in zip(columns.number_names, columns.numbers.T):
        whole = (np.isnan(values) | (values == np.floor(values))).all()
        if name in dates:
            candidates.append(_Candidate(dates[name], True, _keys(np.floor(values))))
        elif name not in parts and whole and (ID_NAME.search(name) or not wide):
            candidates.append(_Candidate(name, False, _keys(values)))
    for place, (name, codes) in enumerate(zip(columns.category_names, columns.codes.T)):
        if len(columns.vocabularies[place]) >= _MIN_LEVELS:
            key = _keys(np.where(codes < 0, np.nan, codes))
            candidates.append(_Candidate(name, False, key, place))
    repeating = [candidate for candidate in candidates if _repeats(candidate.key)]
    return sorted(repeating, key=_implausibility)[:_MAX_CANDIDATES]


def _implausibility(candidate: _Candidate) -> tuple[bool, bool, bool, int]:
    """Return a sort key: dates first, then names of keys, categories and many values."""
    named = ID_NAME.search(candidate.column) is not None
    values = int(candidate.key.max())
    return not candidate.is_date, not named, candidate.category is None, -values


def _keys(values: Floats) -> Ints:
    """Return the number of each row's value, from 0; a missing value is shared with no row."""
    _, key = np.unique(values, return_inverse=True, equal_nan=False)
    return key.astype(np.int64)


def _repeats(key: Ints) -> bool:
    """Return whether there are many values and most rows share their value with another row."""
    sizes = np.bincount(key)
    return bool(
        len(sizes) >= _MIN_VALUES
        and len(key) >= _MIN_ROWS_PER_VALUE * len(sizes)
        and 2 * sizes[sizes > 1].sum() >= len(key)
        and sizes.max() <= _MAX_SHARE_OF_VALUE * len(key)
    )


# --- the quick model ------------------------------------------------------------------------------


def _measured(
    dataset: Dataset, candidate: _Candidate, max_rows: int, random: np.random.Generator
) -> Difference | None:
    """Score the quick model with both kinds of folds; None if there are too few rows."""
    rows, weight = _sampled(candidate.key, dataset.y, max_rows, random)
    y, n_classes = _merged_classes(dataset, rows)
    _, key = np.unique(candidate.key[rows], return_inverse=True)
    enough = np.bincount(y, minlength=n_classes).min() >= _MIN_CLASS_ROWS
    spread = all(len(np.unique(key[y == code])) >= 2 * _FOLDS for code in range(n_classes))
    if not (enough and spread and _repeats(key)):
        return None
    x = _features(dataset, rows, y)
    # The codes of levels that no training row has would mislead the model.
    without_key = _features(dataset, rows, y, without=candidate.category)
    metric = get_metric("average_precision", n_classes=n_classes, positive=1)
    # The first sample has all rows; each of the others leaves out one block, for the jackknife.
    counts = (stratified_groups(y, _BLOCKS) != np.arange(-1, _BLOCKS)[:, None]).astype(np.float64)
    # Splits are repeated only while the difference is neither clear nor clearly absent.
    total = np.zeros((2, len(y), n_classes))
    for repeat in range(1, _REPEATS + 1):
        total += (
            _out_of_fold(x, y, stratified(y, _FOLDS, random), key, random),
            _out_of_fold(without_key, y, stratified(y, _FOLDS, random, key), None, random),
        )
        random_scores, grouped_scores = (
            metric.of_samples(y, proba, y, weight=weight, counts=counts) for proba in total / repeat
        )
        gap = random_scores - grouped_scores
        error = jackknife(gap[1:])
        if not _DOUBTFUL_ERRORS[0] * error < gap[0] < _DOUBTFUL_ERRORS[1] * error:
            break
    means = float(random_scores[0]), float(grouped_scores[0])
    return Difference(candidate.column, candidate.is_date, *means, error)


def _sampled(key: Ints, y: Ints, max_rows: int, random: np.random.Generator) -> tuple[Ints, Floats]:
    """Draw at most about `max_rows` rows, and return the number of rows that each represents.

    The most frequent class is thinned first, as far as values keep some of its rows. If this is not
    enough, whole values are drawn, whatever their classes.
    """
    n_rows, n_values = len(key), int(key.max()) + 1
    if n_rows <= max_rows:
        return np.arange(n_rows), np.ones(n_rows)
    frequent = y == np.bincount(y).argmax()
    min_share = min(1.0, _ENOUGH_ROWS_PER_VALUE * n_values / n_rows)
    # `within` is the share of the most frequent class that fits beside all other rows, and `share`
    # the share of the values that fits after this thinning.
    within = float(np.clip((max_rows - (~frequent).sum()) / frequent.sum(), min_share, 1.0))
    share = min(1.0, max_rows / ((~frequent).sum() + within * frequent.sum()))
    drawn = (random.random(n_values) < share)[key] & (~frequent | (random.random(n_rows) < within))
    rows = np.flatnonzero(drawn)
    return rows, np.where(frequent[rows], 1 / within, 1.0)


def _features(dataset: Dataset, rows: Ints, y: Ints, without: int | None = None) -> Floats:
    """Return numbers and category codes (rows, p) of the rows; of many columns the strongest."""
    numbers, codes = dataset.columns.numbers, dataset.columns.codes
    n_numbers, n_columns = numbers.shape[1], numbers.shape[1] + codes.shape[1]
    columns = np.arange(n_columns)
    if n_columns > _MAX_COLUMNS:
        step = max(1, len(rows) * n_columns // _SCREENED_CELLS)
        x = np.concatenate([numbers[rows[::step]], codes[rows[::step]]], axis=1)
        order = np.argsort(-_correlations(x, y[::step]), kind="stable")
        columns = np.sort(order[:_MAX_COLUMNS])
    if without is not None:
        columns = columns[columns != n_numbers + without]
    if len(columns) == 0:
        return np.zeros((len(rows), 1))
    code_columns = columns[columns >= n_numbers] - n_numbers
    selected = numbers[np.ix_(rows, columns[columns < n_numbers])]
    return np.concatenate([selected, codes[np.ix_(rows, code_columns)]], axis=1)


def _correlations(x: Floats, y: Ints) -> Floats:
    """Return the largest absolute correlation of each column with a class, (p,)."""
    missing = np.isnan(x)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Missing cells become 0 once the mean is subtracted, so that they contribute nothing.
        mean = np.where(missing, 0.0, x).sum(axis=0) / np.maximum((~missing).sum(axis=0), 1)
        centred = np.where(missing, 0.0, x - mean)
        hits = np.eye(int(y.max()) + 1)[y]
        products = (hits - hits.mean(axis=0)).T @ centred
        strength = np.abs(products).max(axis=0) / np.sqrt((centred**2).sum(axis=0))
    return np.asarray(np.nan_to_num(strength, posinf=0.0))


def _out_of_fold(
    x: Floats, y: Ints, part: Ints, key: Ints | None, random: np.random.Generator
) -> Floats:
    """Return out-of-fold probabilities of the quick model, (n, C).

    With a key, the class rates of the row's value among the training rows are further features.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    n_classes = int(y.max()) + 1
    # With several classes each iteration grows a tree for every class.
    iterations = _TREES if n_classes == 2 else max(4, 2 * _TREES // n_classes)
    proba = np.zeros((len(y), n_classes))
    for fold in range(_FOLDS):
        train = part != fold
        inputs = x if key is None else np.column_stack([x, _rates(key, y, train, random)])
        # Without early stopping, which would set rows aside, both kinds of folds train the same
        # number of trees on the same number of rows.
        model = HistGradientBoostingClassifier(
            learning_rate=0.2,
            max_iter=iterations,
            max_leaf_nodes=8,
            early_stopping=False,
            random_state=0,
        )
        model.fit(inputs[train], y[train])
        proba[np.ix_(~train, model.classes_)] = model.predict_proba(inputs[~train])
    return proba


def _rates(key: Ints, y: Ints, train: Mask, random: np.random.Generator) -> Floats:
    """Return smoothed class rates (n, C) of each row's value, cross-fitted for training rows."""
    n_values, n_classes, learn = int(key.max()) + 1, int(y.max()) + 1, np.flatnonzero(train)
    # A training row gets the rates of the training rows outside its inner part; a scored row, with
    # the part number _INNER_PARTS, those of all training rows.
    inner = np.full(len(y), _INNER_PARTS)
    inner[learn] = random.integers(_INNER_PARTS, size=len(learn))
    prior = np.bincount(y[learn], minlength=n_classes) / len(learn)
    cell = (inner[learn] * n_values + key[learn]) * n_classes + y[learn]
    counts = np.bincount(cell, minlength=_INNER_PARTS * n_values * n_classes)
    counts = counts.reshape(_INNER_PARTS, n_values, n_classes)
    total = counts.sum(axis=0)
    learned = np.concatenate([total - counts, total[None]])[inner, key]
    rates: Floats = (learned + _PRIOR_ROWS * prior) / (learned.sum(axis=1)[:, None] + _PRIOR_ROWS)
    return rates[:, 1:] if n_classes == 2 else rates


# --- the order of the file ------------------------------------------------------------------------


def _order(dataset: Dataset, candidates: list[_Candidate]) -> str:
    """Return why the order may carry time (sorted dates, equal neighbours), or an empty string."""
    for candidate in candidates:
        steps = np.diff(candidate.key)
        if candidate.is_date and ((steps >= 0).all() or (steps <= 0).all()):
            return f"The rows are sorted by the date {candidate.column!r}."
    y = dataset.y
    counts = np.bincount(y)
    if (np.diff(y) != 0).sum() <= 2 * ((counts > 0).sum() - 1):
        return ""  # the table is sorted by class
    rarer = y != counts.argmax()
    # Under a random order the number of equal neighbours is nearly Poisson distributed. The most
    # frequent class is left out, as its rows are neighbours in any order.
    pairs = int(((y[1:] == y[:-1]) & rarer[1:]).sum())
    counts[counts.argmax()] = 0
    expected = float((counts * (counts - 1.0)).sum() / len(y))
    if poisson.sf(pairs - 1, expected) >= 1 - NormalDist().cdf(_ORDER_ERRORS):
        return ""
    return (
        f"{pairs:,} rows outside the most frequent class follow one of their own class, where "
        f"{expected:,.1f} would by chance."
    )
