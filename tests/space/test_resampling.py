"""Each resampler against an independent oracle, so that none is another one in disguise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC
from imblearn.under_sampling import (
    EditedNearestNeighbours,
    TomekLinks,
)
from sklearn.neighbors import NearestNeighbors

from autoimb.data.encoding.rows import Encoded
from autoimb.data.folds import plan_folds
from autoimb.errors import InfeasibleError
from autoimb.randomness import Purpose, seed_for
from autoimb.space.resampling.component import (
    RESAMPLING,
    Rows,
    over_counts,
    under_counts,
)
from autoimb.space.resampling.neighbours import nearest, neighbour_space
from tests.support.tables import at, chosen, dataset_of, mixed_table, parts_of, short_plan

SEED = 7
COUNTS = {"binary": (90, 14), "multiclass": (80, 30, 12)}
KINDS = tuple(COUNTS)


def part_of(kind: str, columns: str = "numbers") -> Rows:
    """Classes that overlap; numbers only, categories only, or both."""
    random = np.random.default_rng(3)
    y = np.repeat(np.arange(len(COUNTS[kind])), COUNTS[kind])
    y = y[random.permutation(len(y))]
    p, q = {"numbers": (4, 0), "categories": (0, 3), "mixed": (3, 2)}[columns]
    numbers = (random.normal(size=(len(y), p)) + 0.9 * y[:, None]).astype(np.float32)
    codes = (random.integers(0, 4, (len(y), q)) + (y[:, None] > 0)).astype(np.int32)
    return Rows(Encoded(numbers, codes, (5,) * q), y)


def table_of(encoded: Encoded) -> np.ndarray:
    return np.hstack([encoded.numbers, encoded.codes.astype(np.float32)])


def resample(name: str, part: Rows, *, seed: int = SEED, **values):
    """Run an option at full strength (and full cleaning) unless told otherwise."""
    option = RESAMPLING[name]
    full = {
        key: at(bounds, 1.0 if key in ("strength", "cleaning") else 0.5)
        for key, bounds in option.ranges.items()
    }
    return option.code(part, random_state=seed, **(full | values))


def result_of(new, part: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The rows that training sees, as a table, and their classes."""
    x, y = table_of(part.encoded)[new.rows], part.y[new.rows]
    if new.synthetic is not None:
        x = np.vstack([x, table_of(new.synthetic)])
        y = np.concatenate([y, new.synthetic_y])
    return x, y


def in_order(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same rows in an order that does not depend on how they were created."""
    rows = np.column_stack([y, x])
    return rows[np.lexsort(rows.T[::-1])]


def smote_oracle(columns: str, **values):
    common = {"k_neighbors": 5, "random_state": SEED, **values}
    if columns == "numbers":
        return SMOTE(**common)
    if columns == "categories":
        return SMOTEN(**common)
    return SMOTENC(categorical_features=[3, 4], **common)


def test_cluster_centroids_keeps_a_row_of_every_cluster():
    random = np.random.default_rng(0)
    centres = 10.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    far = np.repeat(centres, 20, axis=0) + random.normal(0, 0.01, (80, 2))
    rare = random.normal(50.0, 1.0, (4, 2))
    x = np.vstack([far, rare]).astype(np.float32)
    y = np.repeat([0, 1], [80, 4])
    codes = np.empty((84, 0), dtype=np.int32)
    rows = resample("cluster_centroids", Rows(Encoded(x, codes, ()), y)).rows
    np.testing.assert_array_equal(np.sort(rows[rows < 80] // 20), np.arange(4))


@pytest.mark.parametrize("columns", ["numbers", "categories", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_smote_gives_the_rows_of_imbalanced_learn(kind, columns):
    """Among codes that are equally frequent at the neighbours, both draw one at random."""
    part = part_of(kind, columns)
    x, y = result_of(resample("smote", part, k_neighbors=5), part)
    oracle_x, oracle_y = smote_oracle(columns).fit_resample(table_of(part.encoded), part.y)
    np.testing.assert_array_equal(y, oracle_y)
    assert (np.bincount(y) == max(COUNTS[kind])).all()
    p = part.encoded.numbers.shape[1]
    rtol, atol = (1e-4, 1e-5) if columns == "mixed" else (1e-6, 0.0)
    np.testing.assert_allclose(x[:, :p], oracle_x[:, :p], rtol=rtol, atol=atol)
    equal_codes = x[:, p:] == oracle_x[:, p:]
    assert equal_codes.mean() > 0.9 if columns == "mixed" else equal_codes.all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "combined", "cleaner"),
    [
        ("smote_enn", SMOTEENN, EditedNearestNeighbours(sampling_strategy="all")),
        ("smote_tomek", SMOTETomek, TomekLinks(sampling_strategy="all")),
    ],
)
def test_smote_and_cleaning_give_the_rows_of_imbalanced_learn(name, combined, cleaner, kind):
    part = part_of(kind)
    key = "enn" if name == "smote_enn" else "tomek"
    oracle = combined(smote=smote_oracle("numbers"), **{key: cleaner}, random_state=SEED)
    expected = in_order(*oracle.fit_resample(table_of(part.encoded), part.y))
    got = in_order(*result_of(resample(name, part, k_neighbors=5), part))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert len(got) < len(result_of(resample("smote", part, k_neighbors=5), part)[1])


@pytest.mark.parametrize(("n", "k"), [(2, 1), (7, 6), (33, 1), (300, 1), (300, 3), (300, 15)])
def test_the_nearest_rows_are_those_of_scikit_learn(n, k):
    space = np.random.default_rng(n + k).normal(5.0, 2.0, size=(n, 6)).astype(np.float32)
    oracle = NearestNeighbors(n_neighbors=k).fit(space.astype(np.float64))
    np.testing.assert_array_equal(nearest(space, k), oracle.kneighbors(return_distance=False))


def test_a_row_that_stands_there_twice_is_the_nearest_of_the_other_and_never_its_own():
    space = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    near = nearest(np.concatenate([space, space]), 1)[:, 0]
    np.testing.assert_array_equal(near, (np.arange(400) + 200) % 400)


@pytest.mark.parametrize("columns", ["numbers", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_tomek_links_keeps_the_rows_of_imbalanced_learn(kind, columns):
    part = part_of(kind, columns)
    oracle = TomekLinks()
    oracle.fit_resample(neighbour_space(part.encoded), part.y)
    got = resample("tomek_links", part).rows
    np.testing.assert_array_equal(got, np.sort(oracle.sample_indices_))
    assert len(got) < len(part.y)


@pytest.mark.parametrize("columns", ["numbers", "mixed", "categories"])
@pytest.mark.parametrize("option", list(RESAMPLING), ids=lambda option: option.name)
def test_a_synthetic_row_has_two_parents_of_its_class(option, columns):
    part = part_of("multiclass", columns)
    new = resample(option.name, part)
    assert new.parents.shape == (len(new.synthetic_y), 2)
    np.testing.assert_array_equal(part.y[new.parents], np.stack([new.synthetic_y] * 2, axis=1))
    if new.synthetic is not None:
        assert (new.synthetic.codes < np.array(new.synthetic.cardinalities)).all()
    if new.synthetic is not None and part.encoded.numbers.shape[1]:
        # interpolated numbers lie no farther from their parents than these from each other
        a, b = (part.encoded.numbers[new.parents[:, i]] for i in (0, 1))
        x = new.synthetic.numbers
        assert (np.minimum(a, b) - 1e-5 <= x).all()
        assert (x <= np.maximum(a, b) + 1e-5).all()


@pytest.mark.parametrize("strength", [0.3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_strength_is_the_geometric_scale(kind, strength):
    part = part_of(kind)
    counts = np.array(COUNTS[kind])
    for names, limit in (
        (("random_over", "smote"), counts.max()),
        (("random_under", "cluster_centroids"), counts.min()),
    ):
        sizes = np.round(limit**strength * counts ** (1 - strength))
        for name in names:
            _, y = result_of(resample(name, part, strength=strength), part)
            np.testing.assert_array_equal(np.bincount(y), sizes, err_msg=name)
            np.testing.assert_array_equal(RESAMPLING[name].sizes(counts, strength), sizes)


@pytest.mark.parametrize("name", ["tomek_links", "smote_enn", "smote_tomek"])
def test_cleaning_drops_its_share_of_the_flagged_rows(name):
    part = part_of("multiclass")
    key = "strength" if name == "tomek_links" else "cleaning"
    uncleaned = result_of(resample("none" if name == "tomek_links" else "smote", part), part)
    full = resample(name, part, **{key: 1.0})
    half = resample(name, part, **{key: 0.5})
    n = len(uncleaned[1])
    flagged = n - len(result_of(full, part)[1])
    assert flagged > 4
    assert n - len(result_of(half, part)[1]) == round(0.5 * flagged)
    assert set(full.rows) <= set(half.rows)


def test_smote_lowers_its_neighbours_to_what_the_class_has():
    part = part_of("binary")
    rows = np.concatenate([np.flatnonzero(part.y == 0), np.flatnonzero(part.y == 1)[:4]])
    small = Rows(part.encoded.take(rows), part.y[rows])
    x, _ = smote_oracle("numbers", k_neighbors=3).fit_resample(small.encoded.numbers, small.y)
    got = result_of(resample("smote", small, k_neighbors=15), small)
    np.testing.assert_allclose(got[0], x, rtol=1e-6)
    single = Rows(part.encoded.take(rows[:-3]), part.y[rows[:-3]])
    with pytest.raises(InfeasibleError, match="at least 2 training rows"):
        resample("smote", single)


# --- whatever the table ---------------------------------------------------------------------------


@st.composite
def drawn_parts(draw):
    """Two to four classes of different sizes that overlap; numbers, categories, or both."""
    counts = draw(st.lists(st.integers(6, 40), min_size=2, max_size=4, unique=True))
    p, q = draw(st.sampled_from([(2, 0), (0, 2), (2, 1)]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = random.permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = (random.normal(size=(len(y), p)) + y[:, None]).astype(np.float32)
    codes = (random.integers(0, 3, (len(y), q)) + (y[:, None] > 0)).astype(np.int32)
    return Rows(Encoded(numbers, codes, (4,) * q), y)


@pytest.mark.parametrize("option", list(RESAMPLING), ids=lambda option: option.name)
@settings(deadline=None, max_examples=10)
@given(part=drawn_parts(), share=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_rows_are_kept_and_made_as_the_strength_says(option, part, share, seed):
    values = {key: at(bounds, share) for key, bounds in option.ranges.items()}
    try:
        new = option.code(part, random_state=seed, **values)
    except InfeasibleError:
        return
    counts = np.bincount(part.y)
    times = np.bincount(new.rows, minlength=len(part.y))
    created = np.bincount(new.synthetic_y, minlength=len(counts))
    total = np.bincount(part.y[new.rows], minlength=len(counts)) + created
    grows, cleaned = counts < counts.max(), "cleaning" in values
    assert created[~grows].sum() == 0
    assert times[~grows[part.y]].max() <= 1
    assert times.max() <= 1 or option.name == "random_over"
    if option.sizes is over_counts and not cleaned:
        assert times.min() == 1  # none is lost
        assert (total == over_counts(counts, values["strength"])).all()
    elif option.sizes is over_counts:
        assert (total <= over_counts(counts, values["strength"])).all()
    elif option.sizes is under_counts:
        assert created.sum() == 0
        assert (total == under_counts(counts, values["strength"])).all()
        assert times[part.y == counts.argmin()].min() == 1
    else:
        assert created.sum() == 0
        assert times[part.y == counts.argmin()].min() == 1  # cleaning is of the larger classes


@pytest.mark.parametrize("option", list(RESAMPLING), ids=lambda option: option.name)
def test_labels_and_weights_go_with_their_rows(option):
    frame, y = mixed_table("multiclass", 300)
    dataset = dataset_of(frame, y)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    dataset = replace(dataset, weight=weight)
    parts = parts_of(dataset, short_plan(dataset, plan_folds(y, cv=2, random_state=0)))
    part = parts.training(0, chosen(option))
    rows, real_rows = parts.folds.folds[0].train, parts._training_rows(0)
    seed = seed_for(Purpose.RESAMPLING, parts.seed, fold=0)
    new = RESAMPLING.make(chosen(option), Rows(real_rows, y[rows]), random_state=seed)
    real = len(new.rows)
    np.testing.assert_array_equal(table_of(part.encoded)[:real], table_of(real_rows.take(new.rows)))
    np.testing.assert_array_equal(part.y[:real], y[rows][new.rows])
    np.testing.assert_array_equal(part.weight[:real], weight[rows][new.rows])
    np.testing.assert_array_equal(part.y[real:], new.synthetic_y)
    np.testing.assert_allclose(part.weight[real:], weight[rows][new.parents].mean(axis=1))
