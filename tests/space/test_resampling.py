"""Each resampler against an independent oracle, so that none is another one in disguise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC, RandomOverSampler
from imblearn.under_sampling import (
    EditedNearestNeighbours,
    RandomUnderSampler,
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
    """The same rows in an order that does not depend on how they were made."""
    whole = np.column_stack([y, x])
    return whole[np.lexsort(whole.T[::-1])]


def as_bytes(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()


def smote_oracle(columns: str, **values):
    common = {"k_neighbors": 5, "random_state": SEED, **values}
    if columns == "numbers":
        return SMOTE(**common)
    if columns == "categories":
        return SMOTEN(**common)
    return SMOTENC(categorical_features=[3, 4], **common)


@pytest.mark.parametrize("columns", ["numbers", "mixed", "categories"])
@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_imbalanced_learn(kind, columns):
    part = part_of(kind, columns)
    x = neighbour_space(part.encoded)  # neighbours are searched here
    n_min = min(COUNTS[kind])
    oracles = {
        "random_over": RandomOverSampler(random_state=SEED),
        "random_under": RandomUnderSampler(random_state=SEED),
    }
    if columns != "categories":  # where rows are equal, it takes some for their own nearest
        oracles["tomek_links"] = TomekLinks()
    for name, oracle in oracles.items():
        _, y = result_of(resample(name, part), part)
        _, wanted = oracle.fit_resample(x, part.y)
        np.testing.assert_array_equal(np.bincount(y), np.bincount(wanted), err_msg=name)
    _, y = result_of(resample("cluster_centroids", part), part)
    np.testing.assert_array_equal(np.bincount(y), [n_min] * len(COUNTS[kind]))


def test_cluster_centroids_keeps_a_row_of_every_cluster():
    random = np.random.default_rng(0)
    centres = 10.0 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    far = np.repeat(centres, 20, axis=0) + random.normal(0, 0.01, (80, 2))
    rare = random.normal(50.0, 1.0, (4, 2))
    x = np.vstack([far, rare]).astype(np.float32)
    y = np.repeat([0, 1], [80, 4])
    codes = np.empty((84, 0), dtype=np.int32)
    kept = resample("cluster_centroids", Rows(Encoded(x, codes, ()), y)).rows
    np.testing.assert_array_equal(np.sort(kept[kept < 80] // 20), np.arange(4))
    # random rows would miss a cluster nearly always
    missed = [
        len(np.unique(rows[rows < 80] // 20)) < 4
        for seed in range(20)
        for rows in [resample("random_under", Rows(Encoded(x, codes, ()), y), seed=seed).rows]
    ]
    assert np.mean(missed) > 0.5


@pytest.mark.parametrize("columns", ["numbers", "categories"])
@pytest.mark.parametrize("kind", KINDS)
def test_smote_gives_the_rows_of_imbalanced_learn(kind, columns):
    part = part_of(kind, columns)
    got = result_of(resample("smote", part, k_neighbors=5), part)
    oracle = smote_oracle(columns)
    wanted, wanted_y = oracle.fit_resample(table_of(part.encoded), part.y)
    np.testing.assert_array_equal(got[1], wanted_y)
    np.testing.assert_allclose(got[0], wanted, rtol=1e-6)
    assert (np.bincount(got[1]) == max(COUNTS[kind])).all()


def test_mixed_smote_gives_the_rows_of_imbalanced_learn():
    """But for codes that are equally frequent among the neighbours, where each draws one."""
    part = part_of("binary", "mixed")
    got, classes = result_of(resample("smote", part, k_neighbors=5), part)
    wanted, wanted_y = smote_oracle("mixed").fit_resample(table_of(part.encoded), part.y)
    np.testing.assert_array_equal(classes, wanted_y)
    p = part.encoded.numbers.shape[1]
    np.testing.assert_allclose(got[:, :p], wanted[:, :p], rtol=1e-4, atol=1e-5)
    assert (got[:, p:] == wanted[:, p:]).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_smote_lies_between_neighbours_and_takes_their_commonest_codes(kind):
    part = part_of(kind, "mixed")
    new = resample("smote", part, k_neighbors=3)
    for c in np.unique(new.synthetic_y):
        own = part.encoded.take(np.flatnonzero(part.y == c))
        far = own.matrix()
        p = own.numbers.shape[1]
        far[:, p:] *= np.median(own.numbers.std(axis=0))
        distance = np.linalg.norm(far[:, None] - far[None], axis=2)
        near = np.argsort(distance, axis=1)[:, 1:4]
        for row in np.flatnonzero(new.synthetic_y == c)[:20]:
            x, codes = new.synthetic.numbers[row], new.synthetic.codes[row]
            ends = own.numbers[near] - own.numbers[:, None]  # (n, k, p)
            share = ((x - own.numbers)[:, None] * ends).sum(2) / (ends**2).sum(2)
            gap = np.abs(own.numbers[:, None] + share[..., None] * ends - x).max(2)
            gap[(share < 0) | (share > 1)] = np.inf
            bases = np.flatnonzero((gap < 1e-4).any(axis=1))  # two where each is near the other
            assert len(bases)
            votes = [
                [np.bincount(own.codes[near[base], j]) for j in range(len(codes))] for base in bases
            ]
            assert any(
                all(v[code] == v.max() for v, code in zip(each, codes) if code < len(v))
                for each in votes
            )


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
    wanted = in_order(*oracle.fit_resample(table_of(part.encoded), part.y))
    got = in_order(*result_of(resample(name, part, k_neighbors=5), part))
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
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
    if new.synthetic is not None and part.encoded.numbers.shape[1]:
        # interpolated numbers lie no farther from their parents than these from each other
        a, b = (part.encoded.numbers[new.parents[:, i]] for i in (0, 1))
        x = new.synthetic.numbers
        assert (np.minimum(a, b) - 1e-5 <= x).all()
        assert (x <= np.maximum(a, b) + 1e-5).all()


@pytest.mark.parametrize("columns", ["numbers", "mixed", "categories"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", list(RESAMPLING), ids=lambda option: option.name)
def test_real_rows_stand_first_and_only_the_smaller_classes_grow(option, kind, columns):
    part = part_of(kind, columns)
    new = resample(option.name, part)
    assert new.rows.min() >= 0
    assert new.rows.max() < len(part.y)
    assert set(part.y[new.rows]) == set(part.y)
    times = np.bincount(new.rows, minlength=len(part.y))
    if option.name != "random_over":
        assert times.max() == 1
    assert (times[part.y == np.argmax(COUNTS[kind])] <= 1).all()
    if new.synthetic is not None:
        assert np.argmax(COUNTS[kind]) not in new.synthetic_y
        assert (new.synthetic.codes < np.array(new.synthetic.cardinalities)).all()


@pytest.mark.parametrize("strength", [0.3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_strength_is_the_geometric_scale(kind, strength):
    part = part_of(kind)
    counts = np.array(COUNTS[kind])
    more = np.round(counts.max() ** strength * counts ** (1 - strength))
    fewer = np.round(counts.min() ** strength * counts ** (1 - strength))
    for name, wanted in {
        "random_over": more,
        "smote": more,
        "random_under": fewer,
        "cluster_centroids": fewer,
    }.items():
        new = resample(name, part, strength=strength)
        np.testing.assert_array_equal(np.bincount(result_of(new, part)[1]), wanted, err_msg=name)
        np.testing.assert_array_equal(RESAMPLING[name].sizes(counts, strength), wanted)


def test_strength_zero_changes_nothing_and_one_balances():
    counts = np.array([1000, 130, 7])
    for sizes in (over_counts, under_counts):
        np.testing.assert_array_equal(sizes(counts, 0.0), counts)
    np.testing.assert_array_equal(over_counts(counts, 1.0), [1000] * 3)
    np.testing.assert_array_equal(under_counts(counts, 1.0), [7] * 3)


@pytest.mark.parametrize("name", ["tomek_links", "smote_enn", "smote_tomek"])
def test_cleaning_drops_its_share_of_the_flagged_rows(name):
    part = part_of("multiclass")
    key = "strength" if name == "tomek_links" else "cleaning"
    before = result_of(resample("none" if name == "tomek_links" else "smote", part), part)
    whole = resample(name, part, **{key: 1.0})
    half = resample(name, part, **{key: 0.5})
    n = len(before[1])
    flagged = n - len(result_of(whole, part)[1])
    assert flagged > 4
    assert n - len(result_of(half, part)[1]) == round(0.5 * flagged)
    assert set(whole.rows) <= set(half.rows)


def test_smote_lowers_its_neighbours_to_what_the_class_has():
    part = part_of("binary")
    few = np.concatenate([np.flatnonzero(part.y == 0), np.flatnonzero(part.y == 1)[:4]])
    small = Rows(part.encoded.take(few), part.y[few])
    wanted = smote_oracle("numbers", k_neighbors=3).fit_resample(small.encoded.numbers, small.y)
    got = result_of(resample("smote", small, k_neighbors=15), small)
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-6)
    one = Rows(part.encoded.take(few[:-3]), part.y[few[:-3]])
    with pytest.raises(InfeasibleError, match="at least 2 training rows"):
        resample("smote", one)


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
    made = np.bincount(new.synthetic_y, minlength=len(counts))
    total = np.bincount(part.y[new.rows], minlength=len(counts)) + made
    grows, cleaned = counts < counts.max(), "cleaning" in values
    assert made[~grows].sum() == 0
    assert times[~grows[part.y]].max() <= 1
    assert times.max() <= 1 or option.name == "random_over"
    if option.sizes is over_counts and not cleaned:
        assert times.min() == 1  # none is lost
        assert (total == over_counts(counts, values["strength"])).all()
    elif option.sizes is over_counts:
        assert (total <= over_counts(counts, values["strength"])).all()
    elif option.sizes is under_counts:
        assert made.sum() == 0
        assert (total == under_counts(counts, values["strength"])).all()
        assert times[part.y == counts.argmin()].min() == 1
    else:
        assert made.sum() == 0
        assert times[part.y == counts.argmin()].min() == 1  # cleaning is of the larger classes


@pytest.mark.parametrize("option", list(RESAMPLING), ids=lambda option: option.name)
def test_labels_and_weights_go_with_their_rows(option):
    frame, y = mixed_table("multiclass", 300)
    dataset = dataset_of(frame, y)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    dataset = replace(dataset, weight=weight)
    parts = parts_of(dataset, short_plan(dataset, plan_folds(y, cv=2, random_state=0)))
    seen = parts.training(0, chosen(option))
    rows, own = parts.folds.folds[0].train, parts._training_rows(0)
    seed = seed_for(Purpose.RESAMPLING, parts.seed, fold=0)
    new = RESAMPLING.make(chosen(option), Rows(own, y[rows]), random_state=seed)
    real = len(new.rows)
    assert as_bytes(table_of(seen.encoded)[:real]) == as_bytes(table_of(own.take(new.rows)))
    np.testing.assert_array_equal(seen.y[:real], y[rows][new.rows])
    np.testing.assert_array_equal(seen.weight[:real], weight[rows][new.rows])
    np.testing.assert_array_equal(seen.y[real:], new.synthetic_y)
    np.testing.assert_allclose(seen.weight[real:], weight[rows][new.parents].mean(axis=1))
