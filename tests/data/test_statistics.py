"""Statistics of levels: what they say, and that no label reaches its own row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs
from sklearn.metrics import roc_auc_score

from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.layout import Layout, plan_layout
from autoimb.data.encoding.levels import row_hashes
from autoimb.data.encoding.statistics import Target, cross_fitted
from autoimb.space.option import Choice
from autoimb.training.parts import Parts
from tests.data.test_encoding import columns_of
from tests.support.tables import dataset_of, mixed_table, parts_of, short_plan

N_ROWS = 2_800
NAN = np.nan


def fit(columns, y, *, weight=None, layout=None):
    # of a single column rows are no more than levels
    layout = (
        structs.replace(plan_layout(columns, n_classes=2), repeated=False)
        if layout is None
        else layout
    )
    return Encoder.fit(columns, np.arange(columns.n_rows), layout=layout, y=y, weight=weight)


def told(encoder, columns):
    """The statistics of new rows."""
    return encoder.transform(columns).numbers[:, len(encoder.bins) :]


def told_training(encoder, columns, y):
    """The statistics of the rows that it was fitted on."""
    rows, weight = np.arange(columns.n_rows), np.ones(columns.n_rows)
    return encoder.transform_training(columns, rows, y, weight).numbers[:, len(encoder.bins) :]


def levels_of_rates(rates, n=N_ROWS):
    """A category column whose levels have these rates of class 1."""
    random = np.random.default_rng(0)
    codes = random.integers(0, len(rates), n)
    return columns_of(np.zeros((n, 0)), codes), (random.random(n) < rates[codes]).astype(np.int64)


def noise(levels=600, rate=0.1):
    """An identifier that says nothing, with five rows a level."""
    return levels_of_rates(np.full(levels, rate))


# --- which columns --------------------------------------------------------------------------------


def test_columns_of_many_levels_and_integers_of_few_values_are_told():
    rows = np.arange(30 * 256)
    numbers = np.column_stack([rows % n for n in (2, 3, 256, 257)]).astype(float)
    numbers = np.column_stack([numbers, numbers[:, 1] + 0.5, rows])
    codes = np.column_stack([rows % 24, rows % 25])
    columns = columns_of(numbers, codes)
    assert plan_layout(columns, n_classes=2) == Layout(
        onehot=(0,), embedded=(), statistics=(1,), integers=(1, 2), n_classes=2
    )
    assert plan_layout(columns) == Layout(onehot=(0,), embedded=(1,))
    assert plan_layout(columns, n_classes=3).embedded == (1,)


def test_whole_numbers_with_few_rows_for_each_value_have_no_statistics():
    rows = np.arange(600)
    columns = columns_of(np.column_stack([rows % 20, rows % 21]).astype(float))
    assert plan_layout(columns, n_classes=2).integers == (0,)


# --- what they say --------------------------------------------------------------------------------


def test_log_odds_are_those_of_the_level():
    rates = np.repeat([0.05, 0.5], 20)
    columns, y = levels_of_rates(rates, 40_000)
    encoder = fit(columns, y)
    odds, rows = told(encoder, columns).T
    prior = np.log(y.mean() / (1 - y.mean()))
    for rate, code in ((0.05, 0), (0.5, 39)):
        own = odds[columns.codes[:, 0] == code]
        assert np.ptp(own) == 0
        exact = np.log(rate / (1 - rate)) - prior
        assert own[0] == pytest.approx(exact / np.sqrt(1 + (exact / 3) ** 2), abs=0.35)
    counts = np.bincount(columns.codes[:, 0])[columns.codes[:, 0]]
    np.testing.assert_allclose(rows, np.log1p(counts) / np.log1p(40_000), rtol=1e-5)


def test_levels_that_do_not_differ_say_nothing():
    columns, y = noise()
    assert np.abs(told(fit(columns, y), columns)[:, 0]).max() < 0.2


def test_rare_levels_are_one_and_new_ones_are_like_them():
    codes = np.repeat([*range(30), 100, 101, 102], [*[10] * 30, 2, 2, 1])
    names = tuple(f"v{level:03}" for level in range(200))
    y = (np.arange(len(codes)) % 3 == 0).astype(np.int64)
    columns = columns_of(np.zeros((len(codes), 0)), codes, (names,))
    found = told(fit(columns, y), columns)
    assert (found[300:] == found[-1]).all()
    new = columns_of(np.zeros((3, 0)), [150, -1, 5], (names,))
    unseen, missing, known = told(fit(columns, y), new)
    np.testing.assert_array_equal(unseen, found[-1])
    np.testing.assert_array_equal(missing, 0)  # no training row lacks it
    np.testing.assert_array_equal(known, found[55])


def test_integers_are_told_by_value():
    random = np.random.default_rng(1)
    values = random.integers(0, 60, N_ROWS).astype(float)
    y = ((values == 7) | (random.random(N_ROWS) < 0.05)).astype(np.int64)
    columns = columns_of(values)
    encoder = fit(columns, y)
    seven, eight, between, missing = told(encoder, columns_of([7.0, 8.0, 7.5, NAN]))
    assert seven[0] > 2
    assert abs(eight[0]) < 1
    np.testing.assert_array_equal(between, 0)
    np.testing.assert_array_equal(missing, 0)


def test_a_weight_counts_as_so_many_rows():
    columns, y = levels_of_rates(np.linspace(0.05, 0.5, 30))
    weight = np.random.default_rng(2).permutation(np.arange(N_ROWS) % 2) * 2
    again = np.repeat(np.arange(N_ROWS), weight)
    weighted = fit(columns, y, weight=weight.astype(float))
    repeated = fit(columns.take(again), y[again])
    np.testing.assert_allclose(weighted.statistics.table, repeated.statistics.table, rtol=1e-5)
    scaled = fit(columns, y, weight=8.0 * weight)
    assert scaled.statistics.table.tobytes() == weighted.statistics.table.tobytes()


# --- no leak --------------------------------------------------------------------------------------


def test_a_label_never_reaches_its_own_row():
    columns, y = levels_of_rates(np.linspace(0.02, 0.5, 60))
    weight = np.random.default_rng(4).random(N_ROWS) + 0.5
    layout, rows = plan_layout(columns, n_classes=2), np.arange(N_ROWS)

    def own(y):
        encoder = Encoder.fit(columns, rows, layout=layout, y=y, weight=weight)
        return encoder.transform_training(columns, rows, y, weight).numbers

    before, reached = own(y), 0
    for row in range(0, N_ROWS, 500):
        other = y.copy()
        other[row] = 1 - other[row]
        after = own(other)
        assert after[row].tobytes() == before[row].tobytes()
        reached += (after != before).any(axis=1).sum()
    assert reached > N_ROWS  # but it does reach others


@pytest.mark.parametrize("names", [("cluster",), ("time",), ("cluster", "time")])
def test_labels_reach_no_statistic_of_their_group_or_of_an_earlier_row(names):
    random = np.random.default_rng(0)
    codes, y = random.integers(0, 6, 400), random.integers(0, 2, 400)
    structure = {"cluster": random.integers(0, 20, 400), "time": random.permutation(400) / 1.0}

    def reached(turned, **declared):
        """Return the mask of the rows whose statistics depend on the labels of some rows."""
        before, after = (
            cross_fitted(codes, 6, Target(labels, np.ones(400), **declared), 2)
            for labels in (y, np.where(turned, 1 - y, y))
        )
        return (before != after).any(axis=1)

    declared = {name: structure[name] for name in names}
    group, late = structure["cluster"] == 7, structure["time"] >= 200
    for name, turned, spared in (("cluster", group, group), ("time", late, ~late)):
        assert (reached(turned) & spared).any()
        assert reached(turned, **declared).any()
        assert name not in names or not (reached(turned, **declared) & spared).any()


def area(parts: Parts, y: np.ndarray) -> float:
    """How well the statistics of an identifier tell training rows' own labels."""
    rows, encoder = parts.folds.folds[0].train, parts.encoder(0)
    part = parts.training(0, Choice("none"))
    return float(roc_auc_score(y[rows], part.encoded.numbers[:, len(encoder.bins)]))


def test_an_identifier_of_noise_gives_no_label_away(monkeypatch):
    columns, y = noise()
    layout = plan_layout(columns, n_classes=2)
    # a prior of one row, the least: levels are believed as far as they ever are
    monkeypatch.setattr("autoimb.data.encoding.statistics._MAX_PRIOR", 1.0)
    base = dataset_of(*mixed_table("binary", 60))
    dataset = replace(base, columns=columns, y=y, weight=np.ones(N_ROWS), layout=layout)
    plan = short_plan(dataset, 3)
    assert abs(area(parts_of(dataset, plan), y) - 0.5) < 0.05

    def naive(encoder, columns, rows, *labels):
        return encoder.transform(columns, rows)

    monkeypatch.setattr(Encoder, "transform_training", naive)
    assert area(parts_of(dataset, plan), y) > 0.8


# --- repeated rows --------------------------------------------------------------------------------


def repeated_rows(n=4_000):
    """Rows of 200 kinds, each with a rate of its own that no column tells, and as many others."""
    random = np.random.default_rng(5)
    kinds = random.normal(size=(200, 2))
    kind = random.integers(0, 200, n)
    numbers = np.where(np.arange(n)[:, None] % 2, kinds[kind], random.normal(size=(n, 2)))
    y = random.random(n) < np.where(np.arange(n) % 2, (kind % 2) * 0.6, 0.1)
    return columns_of(numbers, random.integers(0, 1, n)), y.astype(np.int64)


def test_rows_that_are_repeated_are_told_where_there_are_many():
    columns, y = repeated_rows()
    layout = plan_layout(columns, n_classes=2)
    assert layout.repeated
    assert not plan_layout(columns.take(np.arange(2_900)), n_classes=2).repeated  # too few rows
    assert not plan_layout(columns.take(np.arange(0, 4_000, 2)), n_classes=2).repeated
    encoder = fit(columns, y, layout=layout)
    odds = told(encoder, columns)[1::2, 0]
    assert roc_auc_score(y[1::2], odds) > 0.7
    shuffled = np.random.default_rng(6).permutation(y)
    own = told_training(fit(columns, shuffled, layout=layout), columns, shuffled)[:, 0]
    assert abs(roc_auc_score(shuffled, own) - 0.5) < 0.05
    never = columns_of([[0.1, 0.2]], [0])
    np.testing.assert_array_equal(told(encoder, never)[0], told(encoder, columns)[0])


def test_of_three_classes_each_has_its_log_odds():
    columns, y = repeated_rows()
    y[::7] = 2
    layout = plan_layout(columns, n_classes=3)
    assert layout.statistics_of_level == 4
    encoder = fit(columns, y, layout=layout)
    assert told(encoder, columns).shape == (4_000, 4)
    assert told_training(encoder, columns, y).shape == (4_000, 4)


def test_equal_rows_have_equal_hashes_and_others_have_not():
    random = np.random.default_rng(7)
    numbers, codes = (
        random.integers(-3, 4, (20_000, 3)).astype(float),
        random.integers(-1, 9, 20_000),
    )
    codes = codes[:, None].astype(np.int32)
    hashes = row_hashes(numbers, codes)
    rows = np.unique(np.column_stack([numbers, codes]), axis=0)
    assert len(np.unique(hashes)) == len(rows)
    np.testing.assert_array_equal(row_hashes(numbers[::-1] * 1.0, codes[::-1]), hashes[::-1])
    zero = row_hashes(np.array([[0.0], [-0.0], [NAN], [-NAN]]), codes[:4] * 0)
    assert zero[0] == zero[1] != zero[2] == zero[3]


@pytest.mark.parametrize("change", ["labels", "values"])
def test_statistics_see_training_rows_only(change):
    columns, y = repeated_rows()
    numbers = np.column_stack([columns.numbers, np.arange(4_000) % 50])
    columns = columns_of(numbers, np.arange(4_000) % 31)
    layout = structs.replace(plan_layout(columns, n_classes=2), repeated=True)
    assert layout.statistics
    assert layout.integers
    train, weight = np.arange(0, 4_000, 2), np.ones(4_000)
    other_y, other = y.copy(), columns.numbers.copy()
    if change == "labels":
        other_y[1::2] = 1 - y[1::2]
    else:
        other[1::2] = 7.0
    changed = replace(columns, numbers=other)

    def seen(columns, y):
        encoder = Encoder.fit(columns, train, layout=layout, y=y, weight=weight)
        part = encoder.transform_training(columns, train, y, weight)
        return b"".join(each.tobytes() for each in (*encoder.to_arrays().values(), part.numbers))

    assert seen(changed, other_y) == seen(columns, y)


# --- beside everything else -----------------------------------------------------------------------


def test_without_labels_they_are_zero():
    columns, _ = noise()
    encoder = fit(columns, None)
    np.testing.assert_array_equal(told(encoder, columns), 0)
    assert encoder.width(ple=False) == 2
