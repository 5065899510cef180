"""Each resampler against an independent oracle, so that none is another one in disguise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

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
from autoimb.space.option import Choice
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
FEW_ROWS = {"n_rows": 1_000, "minority_count": 6, "operations": None}


def rows_of(counts: Sequence[int], n_numbers: int, n_categories: int, *, seed: int = 3) -> Rows:
    """Return rows of classes that overlap."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = (random.normal(size=(len(y), n_numbers)) + 0.9 * y[:, None]).astype(np.float32)
    codes = (random.integers(0, 4, (len(y), n_categories)) + (y[:, None] > 0)).astype(np.int32)
    return Rows(Encoded(numbers, codes, (5,) * n_categories), y)


def part_of(kind: str, columns: str = "numbers") -> Rows:
    sizes = {"numbers": (4, 0), "categories": (0, 3), "mixed": (3, 2)}
    return rows_of(COUNTS[kind], *sizes[columns])


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
    """Another test compares what the options give with these sizes."""
    counts = np.array(COUNTS[kind])
    for names, limit in (
        (("random_over", "smote", "smote_enn", "smote_tomek"), counts.max()),
        (("random_under", "cluster_centroids"), counts.min()),
    ):
        expected = np.round(limit**strength * counts ** (1 - strength))
        for name in names:
            np.testing.assert_array_equal(RESAMPLING[name].sizes(counts, strength), expected)


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


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "table", "reason"),
    [
        ("smote", (1_000, 5, 10, 0), "needs at least 6 rows of the rarest class"),
        ("cluster_centroids", (1_000, 5, 10, 0), "would need 28.9 times"),
        ("smote_enn", (20_000, 400, 10, 0), "19.2 times .*it makes new rows one by one; 20,000"),
        ("smote", (20_000, 400, 0, 10), "127432.8 times"),
        ("smote_tomek", (20_000, 400, 5, 5), "934.9 times"),
        ("tomek_links", (20_000, 400, 5, 5), "42000.0 times .*it searches neighbours among all"),
        ("tomek_links", (200_000, 2_000, 500, 0, None), "7.3 times"),
        ("cluster_centroids", (200_000, 2_000, 5, 5, None), "7.8 times .*it clusters all rows"),
    ],
)
def test_an_option_says_which_rows_it_lacks_or_how_much_work_it_would_be(name, table, reason):
    fields = ("n_rows", "minority_count", "n_numbers", "n_categories", "operations")
    profile = SimpleNamespace(**{"operations": 1e6} | dict(zip(fields, table)))
    assert re.search(reason, RESAMPLING[name].feasible(profile))
    assert RESAMPLING[name].feasible(SimpleNamespace(**vars(profile) | FEW_ROWS)) is None


# --- whatever the table ---------------------------------------------------------------------------


@st.composite
def drawn_parts(draw):
    """Two to four classes of different sizes that overlap; numbers, categories, or both."""
    counts = draw(st.lists(st.integers(6, 40), min_size=2, max_size=4, unique=True))
    p, q = draw(st.sampled_from([(2, 0), (0, 2), (2, 1)]))
    return rows_of(counts, p, q, seed=draw(st.integers(0, 2**32 - 1)))


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


SAMPLERS = ("SMOTENC", "RandomOverSampler", "ClusterCentroids(voting='hard')")
CHOICES = [*map(chosen, RESAMPLING), *map(Choice, SAMPLERS)]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
def test_labels_and_weights_go_with_their_rows(choice):
    """A new row weighs what its parents do; one of a sampler, without parents, what its class does.

    SMOTENC is the one of these samplers that makes new rows.
    """
    frame, y = mixed_table("multiclass", 300)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    dataset = replace(dataset_of(frame, y), weight=weight)
    parts = parts_of(dataset, short_plan(dataset, plan_folds(y, cv=2, random_state=0)))
    part = parts.training(0, choice)
    rows, real_rows = parts.folds.folds[0].train, parts._training_rows(0)
    y, weight = y[rows], weight[rows]
    seed = seed_for(Purpose.RESAMPLING, parts.seed, fold=0)
    new = RESAMPLING.make(choice, Rows(real_rows, y), random_state=seed)
    real = len(new.rows)
    np.testing.assert_array_equal(table_of(part.encoded)[:real], table_of(real_rows.take(new.rows)))
    np.testing.assert_array_equal(part.y[:real], y[new.rows])
    np.testing.assert_array_equal(part.weight[:real], weight[new.rows])
    np.testing.assert_array_equal(part.y[real:], new.synthetic_y)
    if choice.name in SAMPLERS:
        means = np.array([weight[y == code].mean() for code in range(3)])
        np.testing.assert_allclose(part.weight[real:], means[new.synthetic_y])
        assert (len(new.synthetic_y) > 0) == (choice.name == "SMOTENC")
    else:
        np.testing.assert_allclose(part.weight[real:], weight[new.parents].mean(axis=1))
