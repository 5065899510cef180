"""Values of a number that stand out from those on both sides of them."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from autoimb.data.encoding import spikes
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.layout import Layout
from autoimb.data.encoding.spikes import spikes_of
from autoimb.data.schema import Columns

VALUES, ROWS = 100, 40


def column(rates, *, seed=0):
    """Numbers 0, 1, 2 and so on, 40 rows each, and classes drawn with these rates of class 1."""
    random = np.random.default_rng(seed)
    scaled = np.repeat(np.arange(len(rates), dtype=np.float32), ROWS)
    y = (random.random(len(scaled)) < np.repeat(rates, ROWS)).astype(np.int64)
    order = random.permutation(len(y))
    return scaled[order], y[order]


def rates(**special):
    found = np.full(VALUES, 0.1)
    for place, rate in special.items():
        found[int(place[1:])] = rate
    return found


def found_in(scaled, y, most=16):
    return spikes_of(scaled, most, y)


def encoder_of(numbers, y, rows=None):
    numbers = np.asarray(numbers, dtype=np.float64).reshape(len(y), -1)
    names = tuple(f"n{j}" for j in range(numbers.shape[1]))
    columns = Columns(numbers, np.zeros((len(y), 0), dtype=np.int32), (), names, ())
    rows = np.arange(len(y)) if rows is None else rows
    return columns, Encoder.fit(columns, rows, layout=Layout((), ()), y=y)


def test_values_that_differ_from_both_sides_are_found():
    assert found_in(*column(rates(_37=0.9, _38=0.9, _70=0.9))).tolist() == [37, 38, 70]
    rare = 1 - rates(_20=0.9)
    assert found_in(*column(rare)).tolist() == [20]


def test_the_strongest_come_first():
    found = found_in(*column(rates(_37=0.6, _70=0.95, _20=0.95)), most=2)
    assert found.tolist() == [20, 70]


@pytest.mark.parametrize(
    "smooth",
    [
        np.linspace(0.0, 1.0, VALUES),
        np.where(np.arange(VALUES) < 50, 0.05, 0.9),
        0.5 + 0.4 * np.sin(np.arange(VALUES) / 15),
        rates(_0=0.9, _99=0.9),  # the ends have one side
    ],
    ids=["slope", "step", "wave", "ends"],
)
def test_what_is_like_one_of_its_sides_is_no_spike(smooth):
    assert found_in(*column(smooth)).tolist() == []


def test_chance_alone_rarely_makes_one():
    found = [len(found_in(*column(rates(), seed=seed))) > 0 for seed in range(200)]
    assert np.mean(found) <= 0.01


def test_numbers_that_do_not_repeat_have_none():
    random = np.random.default_rng(0)
    scaled = random.standard_normal(4_000).astype(np.float32)
    assert len(found_in(scaled, random.integers(0, 2, 4_000))) == 0


@pytest.mark.parametrize("n", [0, 1, 30])
def test_few_rows_or_one_class_have_none(n):
    scaled = np.zeros(n, dtype=np.float32)
    assert len(found_in(scaled, np.zeros(n, dtype=np.int64))) == 0
    assert len(found_in(scaled, np.arange(n) % 2)) == 0


def test_of_many_classes_any_may_stand_out():
    scaled, y = column(rates(_37=0.9))
    y = np.where(y == 1, 5, np.arange(len(y)) % 3)
    assert found_in(scaled, y).tolist() == [37]


def test_large_tables_are_looked_at_in_part(monkeypatch):
    monkeypatch.setattr(spikes, "MAX_ROWS", 2_000)
    assert found_in(*column(rates(_37=0.9))).tolist() == [37]


def test_the_test_is_that_of_two_samples():
    counts = np.random.default_rng(0).integers(1, 50, (6, 3))
    for one, other in pairwise(counts):
        expected = chi2_contingency([one, other], correction=False, lambda_="log-likelihood")
        np.testing.assert_allclose(spikes._g(one[None], other[None])[0], expected.statistic)


def test_a_spike_is_a_column_of_its_own_for_whatever_reads_numbers():
    numbers, y = column(rates(_37=0.9, _70=0.9))
    columns, encoder = encoder_of(np.column_stack([numbers[::-1], numbers]), y)
    assert encoder.spike_column.tolist() == [1, 1]
    encoded = encoder.transform(columns)
    for ple in (False, True):
        x, _ = encoder.dense(encoded, ple=ple)
        expected = np.column_stack([numbers == 37, numbers == 70])
        np.testing.assert_array_equal(x[:, -2:], expected)
        assert x.shape[1] == encoder.width(ple=ple)


def test_a_missing_number_is_no_spike_though_it_is_coded_as_the_median():
    numbers, y = column(np.append(rates(_50=0.9), 0.1))
    numbers = numbers.astype(np.float64)
    numbers[np.flatnonzero(numbers < 49)[:20]] = np.nan
    numbers[np.flatnonzero(numbers > 51)[:20]] = np.nan
    columns, encoder = encoder_of(numbers, y)
    assert encoder.spike_value.tolist() == [0]  # 50 is the median
    x, _ = encoder.dense(encoder.transform(columns), ple=False)
    np.testing.assert_array_equal(x[:, 1], numbers == 50)


def test_labels_of_training_rows_alone_are_seen():
    numbers, y = column(rates(_37=0.9))
    train = np.arange(0, len(y), 2)
    _, before = encoder_of(numbers, y, train)
    changed = y.copy()
    changed[1::2] = (numbers[1::2] == 60).astype(np.int64)
    _, after = encoder_of(numbers, changed, train)
    assert len(before.spike_value) == 1
    np.testing.assert_array_equal(after.spike_value, before.spike_value)
