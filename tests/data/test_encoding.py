from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autoimb.data.encoding.bins import edges_of
from autoimb.data.encoding.encoder import MAX_BINS, Encoder
from autoimb.data.encoding.layout import Layout, plan_layout
from autoimb.data.encoding.scaling import quantiles, scales
from autoimb.data.schema import Columns

NAN = np.nan


def columns_of(numbers, codes=None, vocabularies=None):
    numbers = np.asarray(numbers, dtype=np.float64)
    if numbers.ndim == 1:
        numbers = numbers[:, None]
    codes = np.zeros((len(numbers), 0)) if codes is None else np.asarray(codes)
    codes = codes.reshape(len(numbers), -1).astype(np.int32)
    if vocabularies is None:
        vocabularies = tuple(
            tuple(f"v{level:03}" for level in range(codes[:, j].max(initial=0) + 1))
            for j in range(codes.shape[1])
        )
    names = tuple(f"n{j}" for j in range(numbers.shape[1]))
    return Columns(
        numbers, codes, vocabularies, names, tuple(f"c{j}" for j in range(codes.shape[1]))
    )


def fit(columns, rows=None):
    rows = np.arange(columns.n_rows) if rows is None else np.asarray(rows)
    return Encoder.fit(columns, rows, layout=plan_layout(columns))


def bytes_of(encoder):
    parts = [msgspec.json.encode(encoder.layout)]
    return b"".join(parts + [array.tobytes() for array in encoder.to_arrays().values()])


# --- numbers ---


def test_numbers_are_scaled_by_median_and_quartiles():
    encoder = fit(columns_of([0.0, 1, 2, 3, 4]))
    assert encoder.center.tolist() == [2]
    assert encoder.factor.tolist() == [0.5]
    z = np.array([-1, -0.5, 0, 0.5, 1])
    found = encoder.transform(columns_of([0.0, 1, 2, 3, 4])).numbers[:, 0]
    np.testing.assert_allclose(found, z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-6)
    assert found.dtype == np.float32


def test_constant_and_empty_training_columns_are_zero():
    numbers = np.array([[1.0, NAN, 2.0], [1.0, NAN, NAN], [9.0, 5.0, 7.0]])
    encoder = fit(columns_of(numbers), rows=[0, 1])
    encoded = encoder.transform(columns_of(numbers))
    np.testing.assert_array_equal(encoded.numbers, np.zeros((3, 3)))
    np.testing.assert_array_equal(encoder.indicator, [-1, -1, 0])
    for ple in (True, False):
        x, _ = encoder.dense(encoded, ple=ple)
        np.testing.assert_array_equal(x[:, :-1], 0)


TABLES = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(allow_infinity=False) | st.sampled_from([0.0, 1.0, 1e308, -1e308, NAN]),
)


@given(TABLES, st.data())
def test_whatever_the_numbers_the_input_is_finite_and_bounded(numbers, data):
    n_train = data.draw(st.integers(1, len(numbers)))
    columns = columns_of(numbers)
    encoder = fit(columns, np.arange(n_train))
    encoded = encoder.transform(columns)
    assert (np.abs(encoded.numbers) <= 3).all()
    assert (encoded.numbers[np.isnan(numbers)] == 0).all()
    for ple in (True, False):
        x, _ = encoder.dense(encoded, ple=ple)
        assert x.shape == (len(numbers), encoder.width(ple=ple))
        assert np.isfinite(x).all()
        assert (np.abs(x) <= 3).all()


# --- missing ---


def test_equal_patterns_of_missing_rows_share_an_indicator():
    numbers = np.array([[1, NAN, NAN, 4], [2, 2, 2, NAN], [3, 3, 3, 4], [4, 4, 5, 5]])
    encoder = fit(columns_of(numbers))
    np.testing.assert_array_equal(encoder.indicator, [-1, 0, 0, 1])
    encoded = encoder.transform(columns_of(numbers))
    assert encoded.cardinalities == (2, 2)
    np.testing.assert_array_equal(encoded.codes, [[1, 0], [0, 1], [0, 0], [0, 0]])
    x, _ = encoder.dense(encoded, ple=False)
    np.testing.assert_array_equal(x[:, 4:], encoded.codes)


def test_a_missing_number_is_zero_in_all_bins():
    values = np.array([NAN, *np.arange(40.0)])
    encoder = fit(columns_of(values))
    x, _ = encoder.dense(encoder.transform(columns_of(values)), ple=True)
    np.testing.assert_array_equal(x[0], [0] * MAX_BINS + [1])
    assert (x[1:, :-1].sum(axis=1) > 0).sum() == 39  # the smallest is at the first edge
    assert (x[1:, -1] == 0).all()


# --- piecewise-linear ---


def test_a_value_that_fills_many_bins_leaves_the_others_to_the_rest():
    """Nine zeros in ten rows: nearly all bins are in the tail, and equally full."""
    random = np.random.default_rng(2)
    tail = random.exponential(size=2_000)
    values = np.concatenate([np.zeros(18_000), tail])
    encoder = fit(columns_of(values))
    assert encoder.bins.tolist() == [MAX_BINS]
    scaled = encoder.transform(columns_of(values)).numbers[:, 0]
    filled, _ = np.histogram(scaled[18_000:], encoder.edges)
    np.testing.assert_allclose(filled[1:], 2_000 / (MAX_BINS - 1), rtol=0.15)


def test_outer_bins_go_on_by_one_width_at_most():
    encoder = fit(columns_of([0.0, 1.0, 0.0, 1.0]))
    assert encoder.bins.tolist() == [1]
    beyond = columns_of([-100.0, -0.25, 0.0, 1.0, 1.25, 100.0])
    x, _ = encoder.dense(encoder.transform(beyond), ple=True)
    assert x[0, 0] == -1
    assert -1 < x[1, 0] < 0
    np.testing.assert_allclose(x[2:4, 0], [0, 1], atol=1e-6)
    assert 1 < x[4, 0] < 2
    assert x[5, 0] == 2


# --- categories ---


def test_codes_are_other_missing_and_training_levels():
    train = [0, 0, 0, 1, 1, 2, 2, 2, -1]
    columns = columns_of(np.arange(10.0), [*train, 3], (("a", "b", "c", "d"),))
    encoder = fit(columns, rows=np.arange(9))
    assert encoder.levels == (("a", "c"),)  # b is rare, d was not seen
    encoded = encoder.transform(columns)
    assert encoded.cardinalities == (4,)
    np.testing.assert_array_equal(encoded.codes[:, 0], [2, 2, 2, 0, 0, 3, 3, 3, 1, 0])
    x, _ = encoder.dense(encoded, ple=False)
    np.testing.assert_array_equal(x[:, 1:], np.eye(4)[encoded.codes[:, 0]])


@pytest.mark.parametrize(
    ("codes", "n_train", "expected"),
    [
        # The mean of the training rows,
        ([0, 0, 0, 1, 1, 1, 1, 2, -1], 7, [[1, 0]] * 3 + [[0, 1]] * 4 + [[3 / 7, 4 / 7]] * 2),
        # or "other", where training has others; still the mean for a missing value.
        ([0, 0, 0, 1, 2, -1], 4, [[0, 1]] * 3 + [[1, 0]] * 2 + [[0.25, 0.75]]),
    ],
)
def test_how_levels_that_training_lacks_are_written(codes, n_train, expected):
    columns = columns_of(np.arange(float(len(codes))), codes, (("a", "b", "c"),))
    encoder = fit(columns, rows=np.arange(n_train))
    x, _ = encoder.dense(encoder.transform(columns), ple=False)
    np.testing.assert_array_equal(x[:, 1:], np.float32(expected))


def test_another_vocabulary_at_prediction():
    encoder = fit(columns_of(np.arange(6.0), [0, 0, 0, 1, 1, 1], (("b", "c"),)))
    later = columns_of(np.arange(4.0), [0, 1, 2, -1], (("a", "b", "d"),))
    np.testing.assert_array_equal(encoder.transform(later).codes[:, 0], [0, 2, 0, 1])


def test_layout_follows_the_levels_of_the_whole_table():
    codes = np.column_stack([np.arange(100) % 24, np.arange(100) % 25])
    columns = columns_of(np.zeros(100), codes)
    assert plan_layout(columns) == Layout(onehot=(0,), embedded=(1,))
    encoder = fit(columns)
    x, embedded = encoder.dense(encoder.transform(columns), ple=True)
    assert x.shape == (100, 1 + 24)
    assert embedded.shape == (100, 1)
    assert embedded.dtype == np.int64
    assert encoder.embedded_cardinalities == (27,)
    assert embedded.max() < 27


# --- rows ---


def test_different_codes_are_one_apart():
    encoder = fit(columns_of(np.zeros(6), [0, 0, 0, 1, 1, 1]))
    matrix = encoder.transform(columns_of(np.zeros(6), [0, 0, 0, 1, 1, 1])).matrix()
    assert matrix.dtype == np.float32
    assert matrix.shape == (6, 1 + 4)
    assert np.linalg.norm(matrix[0] - matrix[3]) == pytest.approx(1)
    assert np.linalg.norm(matrix[0] - matrix[1]) == 0


def test_no_rows_and_no_columns():
    columns = columns_of(np.arange(60.0), np.arange(60) % 30)
    encoder = fit(columns)
    x, embedded = encoder.dense(encoder.transform(columns, np.arange(0)), ple=True)
    assert x.shape == (0, encoder.width(ple=True))
    assert embedded.shape == (0, 1)
    numbers_only = columns_of(np.arange(5.0))
    encoder = fit(numbers_only)
    assert encoder.dense(encoder.transform(numbers_only), ple=True)[1].shape == (5, 0)
    levels_only = columns_of(np.zeros((6, 0)), [0, 0, 0, 1, 1, 1])
    encoder = fit(levels_only)
    x, _ = encoder.dense(encoder.transform(levels_only), ple=True)
    np.testing.assert_array_equal(x, np.repeat(np.eye(2), 3, axis=0))


# --- bins by classes ------------------------------------------------------------------------------


def test_bins_end_where_classes_part():
    """Few rows beyond a threshold, 1 in 40, are of the rare class."""
    numbers = np.random.default_rng(0).standard_normal(4_000)
    columns, y = columns_of(numbers), (numbers > 2.0).astype(np.int64)
    rows = np.arange(len(y))
    encoder = Encoder.fit(columns, rows, layout=plan_layout(columns), y=y)
    scaled = encoder.transform(columns).numbers[:, 0]
    gap = scaled[y == 0].max(), scaled[y == 1].min()
    assert ((encoder.edges > gap[0]) & (encoder.edges < gap[1])).any()
    assert encoder.bins.tolist() == [MAX_BINS]
    alone = fit(columns)
    assert not ((alone.edges > gap[0]) & (alone.edges < gap[1])).any()


@given(numbers=TABLES)
def test_quantiles_of_many_columns_are_those_of_each(numbers):
    shares = (0.0, 0.25, 0.5, 0.9, 1.0)
    found = quantiles(numbers, shares)
    for column, own in zip(numbers.T, found.T):
        known = column[~np.isnan(column)]
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = np.quantile(known, shares) if len(known) else np.full(len(shares), np.nan)
        np.testing.assert_array_equal(own, wanted)


def test_without_a_range_of_the_middle_half_the_spread_is_the_standard_deviation():
    center, factor = scales(np.array([0.0] * 9 + [10.0])[:, None])
    assert (center, factor) == (0.0, pytest.approx(1 / 3.0))


def test_labels_move_bins_only_where_there_are_enough_of_them():
    scaled = np.linspace(0, 1, 400, dtype=np.float32)
    y = (scaled > 0.83).astype(np.int64)
    for most, moved in ((4, False), (8, True)):
        by_rows, by_classes = edges_of(scaled, most), edges_of(scaled, most, y)
        assert np.array_equal(by_rows, by_classes) != moved
        assert (np.abs(by_classes - 0.83).min() < 0.003) == moved


# --- whatever the table ---------------------------------------------------------------------------


@st.composite
def drawn_tables(draw):
    """Numbers and levels with ties and gaps, two or three classes, and the rows that train."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, p, q = draw(st.integers(20, 90)), draw(st.integers(0, 3)), draw(st.integers(0, 3))
    numbers = random.standard_normal((n, p)) * 10.0 ** random.integers(-2, 4, p)
    whole = random.random(p) < 0.5
    numbers[:, whole] = np.round(numbers[:, whole])
    numbers[random.random((n, p)) < random.choice([0, 0.2, 0.9], p)] = NAN
    codes = np.stack([random.integers(-1, size, n) for size in random.integers(1, 50, q)] or [[]])
    columns = columns_of(numbers, codes.T if q else None)
    y = random.integers(0, draw(st.integers(2, 3)), n)
    return columns, y, random.permutation(n)[: draw(st.integers(10, n))]


def fit_with(columns, y, rows):
    layout = plan_layout(columns, n_classes=int(y.max()) + 1)
    return Encoder.fit(columns, rows, layout=layout, y=y)


def written(encoder, columns):
    """What networks read of a table, whichever way they read it."""
    encoded = encoder.transform(columns)
    return [
        array.astype(np.float64)
        for ple in (True, False)
        for array in encoder.dense(encoded, ple=ple)
    ]


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(drawn_tables())
def test_whatever_the_table_its_encoder_is_stored_whole_and_fitted_alike(table):
    columns, y, rows = table
    encoder = fit_with(columns, y, rows)
    again = Encoder.from_arrays(encoder.to_arrays(), encoder.layout)
    assert bytes_of(again) == bytes_of(encoder) == bytes_of(fit_with(columns, y, rows))
    # gaps everywhere, and levels of which no row was heard
    new = replace(
        columns,
        numbers=np.where(np.arange(columns.n_rows)[:, None] % 2, NAN, columns.numbers),
        codes=np.full_like(columns.codes, 0),
        vocabularies=(("a new level",),) * len(columns.vocabularies),
    )
    for own in (columns, new):
        assert_same(written(again, own), written(encoder, own))
        assert all(np.isfinite(array).all() for array in written(encoder, own))


@given(drawn_tables(), st.integers(0, 2**32 - 1))
def test_columns_in_another_order_are_read_as_they_were(table, seed):
    columns, y, rows = table
    # Of columns that lack values in the same training rows, the first one gives the indicator.
    missing = np.isnan(columns.numbers)
    patterns = [np.unique(part, axis=1).shape[1] for part in (missing, missing[rows])]
    assume(patterns[0] == patterns[1])
    random = np.random.default_rng(seed)
    p, q = (random.permutation(n) for n in (columns.numbers.shape[1], columns.codes.shape[1]))
    moved = replace(
        columns,
        numbers=columns.numbers[:, p],
        codes=columns.codes[:, q],
        vocabularies=tuple(columns.vocabularies[j] for j in q),
    )
    ours, theirs = (written(fit_with(one, y, rows), one) for one in (columns, moved))
    assert_same(map(in_line, ours), map(in_line, theirs))


def in_line(x):
    """The same columns in an order that does not depend on where they stood."""
    return x[:, np.lexsort(x[::-1])] if x.size else x


@given(drawn_tables(), st.integers(0, 2**32 - 1))
def test_rows_in_another_order_are_read_as_they_were(table, seed):
    columns, y, rows = table
    order = np.random.default_rng(seed).permutation(len(rows))
    ours, theirs = (written(fit_with(columns, y, own), columns) for own in (rows, rows[order]))
    assert_same(ours, theirs)
