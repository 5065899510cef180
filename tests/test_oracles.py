"""Each option against an independent oracle, so that none is another one in disguise."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC, RandomOverSampler
from imblearn.under_sampling import (
    ClusterCentroids,
    EditedNearestNeighbours,
    NearMiss,
    NeighbourhoodCleaningRule,
    OneSidedSelection,
    RandomUnderSampler,
    TomekLinks,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_class_weight
from tables import at, chosen, dataset_of, mixed_table, short_plan, strategy_with

from autoimb.data.encoding import Encoded, Encoder
from autoimb.data.folds import plan_folds
from autoimb.errors import InfeasibleError
from autoimb.nn.network import build
from autoimb.pipeline.fitted import fold_average
from autoimb.space.ensemble import samme, self_paced_rows
from autoimb.space.resampling.room import (
    RESAMPLING,
    Rows,
    neighbour_space,
    over_counts,
    under_counts,
)
from autoimb.space.rooms import ROOMS
from autoimb.space.strategy import Choice
from autoimb.training import run as running
from autoimb.training.parts import Parts
from autoimb.training.rounds import train_strategy

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
    return option.code(part, seed=seed, **(full | values))


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


def smote_oracle(columns: str, **values):
    common = {"k_neighbors": 5, "random_state": SEED, **values}
    if columns == "numbers":
        return SMOTE(**common)
    if columns == "categories":
        return SMOTEN(**common)
    return SMOTENC(categorical_features=[3, 4], **common)


# --- resampling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["numbers", "mixed", "categories"])
@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_those_of_imbalanced_learn(kind, columns):
    part = part_of(kind, columns)
    x = neighbour_space(part.encoded)  # neighbours are searched here
    n_min = min(COUNTS[kind])
    oracles = {
        "random_over": RandomOverSampler(random_state=SEED),
        "random_under": RandomUnderSampler(random_state=SEED),
        "near_miss": NearMiss(version=2, n_neighbors=5),
        "tomek_links": TomekLinks(),
    }
    for name, oracle in oracles.items():
        values = {"version": 2, "n_neighbors": 5} if name == "near_miss" else {}
        _, y = result_of(resample(name, part, **values), part)
        _, wanted = oracle.fit_resample(x, part.y)
        np.testing.assert_array_equal(np.bincount(y), np.bincount(wanted), err_msg=name)
    _, y = result_of(resample("cluster_centroids", part), part)
    np.testing.assert_array_equal(np.bincount(y), [n_min] * len(COUNTS[kind]))


def test_cluster_centroids_has_the_counts_of_imbalanced_learn():
    part = part_of("multiclass")
    oracle = ClusterCentroids(random_state=SEED, voting="hard")
    _, wanted = oracle.fit_resample(neighbour_space(part.encoded), part.y)
    _, y = result_of(resample("cluster_centroids", part), part)
    np.testing.assert_array_equal(np.bincount(y), np.bincount(wanted))


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_near_miss_keeps_the_rows_of_imbalanced_learn(version, kind):
    part = part_of(kind)
    oracle = NearMiss(version=version, n_neighbors=3, n_neighbors_ver3=3)
    with warnings.catch_warnings():  # version 3 says where it keeps fewer rows than wanted
        warnings.simplefilter("ignore", UserWarning)
        oracle.fit_resample(neighbour_space(part.encoded), part.y)
    got = resample("near_miss", part, version=version, n_neighbors=3).rows
    np.testing.assert_array_equal(got, np.sort(oracle.sample_indices_))


@pytest.mark.parametrize("columns", ["numbers", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_tomek_links_keeps_the_rows_of_imbalanced_learn(kind, columns):
    part = part_of(kind, columns)
    oracle = TomekLinks()
    oracle.fit_resample(neighbour_space(part.encoded), part.y)
    got = resample("tomek_links", part).rows
    np.testing.assert_array_equal(got, np.sort(oracle.sample_indices_))
    assert len(got) < len(part.y)


@pytest.mark.parametrize("columns", ["numbers", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("edited_nn", EditedNearestNeighbours()),
        ("neighbourhood_cleaning", NeighbourhoodCleaningRule()),
        ("one_sided_selection", OneSidedSelection(random_state=SEED)),
    ],
)
def test_cleaning_keeps_the_rows_of_imbalanced_learn(name, oracle, kind, columns):
    part = part_of(kind, columns)
    oracle.fit_resample(neighbour_space(part.encoded), part.y)
    np.testing.assert_array_equal(resample(name, part).rows, np.sort(oracle.sample_indices_))


@pytest.mark.parametrize("kind", KINDS)
def test_instance_hardness_keeps_the_easiest_rows(kind):
    part = part_of(kind)
    split = StratifiedKFold(3, shuffle=True, random_state=SEED)
    model = LogisticRegression(max_iter=200)
    proba = cross_val_predict(
        model, neighbour_space(part.encoded), part.y, cv=split, method="predict_proba"
    )
    easy = proba[np.arange(len(part.y)), part.y]
    kept = np.isin(np.arange(len(part.y)), resample("instance_hardness", part).rows)
    for c, count in enumerate(COUNTS[kind]):
        own = part.y == c
        assert (kept & own).sum() == min(COUNTS[kind])
        if count > min(COUNTS[kind]):
            assert easy[own & kept].min() >= easy[own & ~kept].max()


def first_parents(name: str, part: Rows, c: int) -> np.ndarray:
    """How often each row of a class is a first parent, of many new rows."""
    often = np.zeros(len(part.y))
    for seed in range(30):
        new = resample(name, part, seed=seed)
        np.add.at(often, new.parents[new.synthetic_y == c, 0], 1.0)
    return often[part.y == c]


def others_near(part: Rows, c: int) -> np.ndarray:
    space = neighbour_space(part.encoded).astype(np.float64)
    distance = np.linalg.norm(space[:, None] - space[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :10]
    return (part.y[near] != part.y[:, None]).mean(1)[part.y == c]


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_variants_of_smote_start(kind):
    part = part_of(kind)
    c = int(np.argmin(COUNTS[kind]))
    share = others_near(part, c)
    danger = (share >= 0.5) & (share < 1.0)
    assert 0 < danger.sum() < len(danger)
    assert set(np.flatnonzero(first_parents("borderline_smote", part, c))) == set(
        np.flatnonzero(danger)
    )
    often = first_parents("adasyn", part, c)
    np.testing.assert_allclose(often / often.sum(), share / share.sum(), atol=0.04)
    support = np.isin(np.flatnonzero(part.y == c), SVC().fit(part.encoded.numbers, part.y).support_)
    assert set(np.flatnonzero(first_parents("svm_smote", part, c))) == set(
        np.flatnonzero(support & (share < 1.0))
    )


def test_kmeans_smote_starts_where_the_class_is_common():
    """Two groups of rare rows: one among themselves, one lost among the others."""
    random = np.random.default_rng(0)
    common = random.normal(0.0, 0.5, (80, 2))
    own, lost = random.normal(8.0, 0.5, (12, 2)), random.normal(0.0, 0.5, (2, 2))
    x = np.vstack([common, own, lost]).astype(np.float32)
    y = np.repeat([0, 1], [80, 14])
    part = Rows(Encoded(x, np.empty((94, 0), np.int32), ()), y)
    often = first_parents("kmeans_smote", part, 1)
    assert often[:12].min() > 0
    assert often[12:].sum() < 0.1 * often.sum()


@pytest.mark.parametrize("columns", ["numbers", "mixed"])
def test_jittered_rows_are_their_rows_with_the_noise_of_a_smoothed_bootstrap(columns):
    part = part_of("binary", columns)
    new = resample("jittered_over", part, shrinkage=0.5)
    base = new.parents[:, 0]
    np.testing.assert_array_equal(new.synthetic.codes, part.encoded.codes[base])
    own, p = part.encoded.numbers[part.y == 1], part.encoded.numbers.shape[1]
    factor = (4.0 / ((p + 2.0) * len(own))) ** (1.0 / (p + 4.0))
    noise = new.synthetic.numbers - part.encoded.numbers[base]
    np.testing.assert_allclose(noise.std(0), 0.5 * factor * own.std(0), rtol=0.35)


@pytest.mark.parametrize("columns", ["numbers", "mixed", "categories"])
@pytest.mark.parametrize("option", list(RESAMPLING), ids=lambda option: option.name)
def test_a_synthetic_row_has_two_parents_of_its_class(option, columns):
    part = part_of("multiclass", columns)
    new = resample(option.name, part, **({"version": 2} if option.name == "near_miss" else {}))
    assert new.parents.shape == (len(new.synthetic_y), 2)
    np.testing.assert_array_equal(part.y[new.parents], np.stack([new.synthetic_y] * 2, axis=1))
    if new.synthetic is not None and part.encoded.numbers.shape[1]:
        # interpolated numbers lie no farther from their parents than these from each other
        if option.name == "jittered_over":
            return
        a, b = (part.encoded.numbers[new.parents[:, i]] for i in (0, 1))
        x = new.synthetic.numbers
        assert (np.minimum(a, b) - 1e-5 <= x).all()
        assert (x <= np.maximum(a, b) + 1e-5).all()


@pytest.mark.parametrize("columns", ["numbers", "mixed", "categories"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", list(RESAMPLING), ids=lambda option: option.name)
def test_real_rows_stand_first_and_only_the_smaller_classes_grow(option, kind, columns):
    part = part_of(kind, columns)
    new = resample(option.name, part, **({"version": 2} if option.name == "near_miss" else {}))
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


@pytest.mark.parametrize("name", ["smote", "smote_enn", "smote_tomek"])
@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_rows_lie_between_two_rows_of_their_class(kind, name):
    part = part_of(kind)
    new = resample(name, part, cleaning=0.5) if name != "smote" else resample(name, part)
    assert new.synthetic is not None
    for row, c in zip(new.synthetic.numbers.astype(np.float64), new.synthetic_y):
        own = part.encoded.numbers[part.y == c].astype(np.float64)
        # |a - x| + |x - b| = |a - b| for a pair of parents
        to_row = np.linalg.norm(own - row, axis=1)
        between = np.linalg.norm(own[:, None] - own[None], axis=2)
        assert (to_row[:, None] + to_row[None] - between).min() < 1e-5


def test_smote_takes_categories_that_neighbours_have():
    part = part_of("binary", "mixed")
    new = resample("smote", part)
    own = part.encoded.codes[part.y == 1]
    for j in range(own.shape[1]):
        assert set(new.synthetic.codes[:, j]) <= set(own[:, j])


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
        "near_miss": fewer,
        "cluster_centroids": fewer,
    }.items():
        values = {"version": 2} if name == "near_miss" else {}
        new = resample(name, part, strength=strength, **values)
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


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_options_give_the_same_rows(kind):
    part = part_of(kind)
    made = {}
    for option in RESAMPLING:
        new = resample(option.name, part, **({"version": 2} if "version" in option.ranges else {}))
        made[option.name] = in_order(*result_of(new, part))
    names = list(made)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            same = made[a].shape == made[b].shape and np.array_equal(made[a], made[b])
            assert not same, (a, b)


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


# --- losses ---------------------------------------------------------------------------------------


def some_logits(n_classes: int) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    """Logits (M, k, C, B), the classes (M, B) of their rows, and these as one-hot truth."""
    random = np.random.default_rng(2)
    logits = torch.from_numpy(random.normal(0.0, 2.0, (3, 4, n_classes, 11)))
    y = random.integers(0, n_classes, (3, 11))
    truth = y[:, None, None, :] == np.arange(n_classes)[:, None]
    return logits, y, torch.from_numpy(truth.astype(np.float64))


def formula(name: str, values: dict, p: np.ndarray, every: np.ndarray) -> np.ndarray:
    """The loss from the probabilities of a row's own class and of every class, after the papers."""
    if name == "label_smoothing":
        share = values["smoothing"]
        return -(1 - share) * np.log(p) - share * np.log(every).mean(axis=2)
    if name == "focal":
        return -((1 - p) ** values["gamma"]) * np.log(p)
    return -np.log(p)  # the adjustment is made to the logits


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("option", list(ROOMS["loss"]), ids=lambda option: option.name)
def test_losses_are_their_formula_and_gradients_those_of_autograd(option, share, n_classes):
    values = {key: at(bounds, share) for key, bounds in option.ranges.items()}
    loss = option.code(**values)
    logits, y, truth = some_logits(n_classes)
    every = np.exp(logits.numpy())
    every /= every.sum(2, keepdims=True)
    own = np.take_along_axis(
        every,
        np.broadcast_to(y[:, None, None, :], (3, 4, 1, 11)),
        axis=2,
    )[:, :, 0]
    wanted = formula(option.name, values, own, every)
    np.testing.assert_allclose(loss.value(logits, truth).numpy(), wanted, rtol=1e-9, atol=1e-12)
    free = logits.clone().requires_grad_()
    loss.value(free, truth).sum().backward()
    torch.testing.assert_close(loss.gradient(logits, truth), free.grad, rtol=1e-7, atol=1e-9)


def test_no_two_losses_are_the_same():
    logits, _, truth = some_logits(3)
    prior = torch.log(torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64))[:, None]
    made = []
    for option in ROOMS["loss"]:
        loss = option.code(**chosen(option).values)
        made.append(loss.value(logits + loss.adjustment * prior, truth))
    for i, a in enumerate(made):
        for b in made[i + 1 :]:
            assert not torch.allclose(a, b, rtol=1e-2)


# --- class weights --------------------------------------------------------------------------------


def test_power_one_is_balanced_and_half_its_root():
    y = np.repeat([0, 1, 2], [70, 20, 10])
    counts = np.array([70.0, 20.0, 10.0])
    weigh = ROOMS["class_weight"]["power"].code
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=y)
    np.testing.assert_allclose(weigh(counts, None, tau=1.0), balanced)
    np.testing.assert_allclose(weigh(counts, None, tau=0.5), np.sqrt(balanced))


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.9999])
def test_effective_number_is_the_formula_of_cui(beta):
    counts = np.array([700.0, 20.0, 1.0])
    got = ROOMS["class_weight"]["effective_number"].code(counts, None, beta_complement=1 - beta)
    np.testing.assert_allclose(got, (1 - beta) / (1 - beta**counts), rtol=1e-9)


def test_costs_are_the_users_and_none_is_one():
    counts, costs = np.array([9.0, 3.0]), np.array([1.0, 8.0])
    np.testing.assert_array_equal(ROOMS["class_weight"]["costs"].code(counts, costs), costs)
    np.testing.assert_array_equal(ROOMS["class_weight"]["none"].code(counts, costs), [1.0, 1.0])


# --- what a strategy trains -----------------------------------------------------------------------


def trained(kind: str = "binary", *, costs=None, **choices):
    """Train a strategy for two ticks on two folds."""
    dataset = dataset_of(*mixed_table(kind))
    folds = plan_folds(dataset.y, cv=2, random_state=0)
    parts = Parts(dataset, folds, seed=0)
    result = train_strategy(
        strategy_with(**choices),
        parts,
        effort=short_plan(dataset, folds).effort,
        costs=costs,
        measure=lambda y, proba, weight: 0.0,
        check=lambda: None,
    )
    return result, parts


def shares(parts: Parts, fold: int) -> np.ndarray:
    y = parts.dataset.y[parts.folds.folds[fold].train]
    return np.bincount(y) / len(y)


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(-1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_prior_correction_of_each_exact_lever_is_its_formula(kind):
    costs = np.arange(1.0, 1.0 + len(COUNTS[kind]))
    weights, loss = ROOMS["class_weight"], ROOMS["loss"]
    levers = {
        # what to add to the log posterior, from the shares of a fold's training rows
        "none": ({}, lambda p, n: 0 * p),
        "power": ({"class_weight": chosen(weights["power"], 1.0)}, lambda p, n: np.log(p)),
        "effective_number": (
            {"class_weight": chosen(weights["effective_number"], 0.5)},
            lambda p, n: np.log(-np.expm1(n * np.log1p(-np.sqrt(1e-4 * 1e-1)))),
        ),
        "costs": ({"class_weight": Choice("costs")}, lambda p, n: -np.log(costs)),
        "logit_adjusted": (
            {"loss": chosen(loss["logit_adjusted"], tau=0.7)},
            lambda p, n: 0.7 * np.log(p),
        ),
        "random_over": (
            {"resampling": chosen(ROOMS["resampling"]["random_over"], 1.0)},
            lambda p, n: np.log(p),
        ),
        "balanced_bagging": (
            {"ensemble": chosen(ROOMS["ensemble"]["balanced_bagging"], members=4, strength=1.0)},
            lambda p, n: np.log(p),
        ),
    }
    for name, (choices, wanted) in levers.items():
        result, parts = trained(kind, costs=costs, **choices)
        pack = result.packs[0]
        for member, fold in enumerate(pack.fold):
            p = shares(parts, fold)
            n = p * len(parts.folds.folds[fold].train)
            np.testing.assert_allclose(
                centred(pack.log_prior[member]), centred(wanted(p, n)), atol=1e-9, err_msg=name
            )


def drawn(name: str, y: np.ndarray, members: int = 4, **values) -> list[np.ndarray]:
    option = ROOMS["ensemble"][name]
    key = "rounds" if "rounds" in option.ranges else "members"
    code = {key: members} if key in option.ranges else {}
    ensemble = option.code(**code, **values)
    ones = np.ones(len(y))
    return [ensemble.draw(y, ones, 0.0, np.random.default_rng([0, m])) for m in range(members)]


def test_bagging_draws_a_bootstrap_of_every_class():
    y = np.repeat([0, 1, 2], [200, 40, 9])
    members = drawn("bagging", y)
    for rows in members:
        np.testing.assert_array_equal(np.bincount(y[rows]), [200, 40, 9])
        assert 0.5 < len(np.unique(rows)) / len(y) < 0.75  # 1 - 1/e
    assert not np.array_equal(members[0], members[1])


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_balanced_bagging_draws_other_rows_for_each_member(strength):
    y = np.repeat([0, 1, 2], [200, 40, 9])
    members = drawn("balanced_bagging", y, strength=strength)
    for rows in members:
        np.testing.assert_array_equal(np.bincount(y[rows]), under_counts([200, 40, 9], strength))
        assert len(np.unique(rows)) == len(rows)
        assert {*np.flatnonzero(y == 2)} <= set(rows)
    assert len({rows.tobytes() for rows in members}) == len(members)
    assert len(np.unique(np.concatenate(members))) > len(members[0])


def test_single_and_boosting_see_all_rows():
    y = np.repeat([0, 1], [50, 7])
    for name in ("single", "boosting"):
        for rows in drawn(name, y):
            np.testing.assert_array_equal(rows, np.arange(57))


def proba_for(labels: np.ndarray, n_classes: int) -> np.ndarray:
    return np.where(np.eye(n_classes)[labels] == 1, 0.8, 0.2 / (n_classes - 1))


def test_samme_by_hand():
    # one error of weight 1 in 4: e = 1/4, vote = log 3 (+ log 2 for three classes)
    y = np.array([0, 0, 1, 1])
    weights, vote = samme(np.ones(4), y, proba_for(np.array([0, 0, 1, 0]), 2))
    assert vote == pytest.approx(np.log(3))
    np.testing.assert_allclose(weights, np.array([1, 1, 1, 3]) / 1.5)
    # again, with those weights and an error of the first row: e = 1/6, vote = log 5
    weights, vote = samme(weights, y, proba_for(np.array([1, 0, 1, 1]), 2))
    assert vote == pytest.approx(np.log(5))
    np.testing.assert_allclose(weights, np.array([5, 1, 1, 3]) / 2.5)
    three = samme(np.ones(4), np.array([0, 1, 2, 2]), proba_for(np.array([0, 1, 2, 1]), 3))
    assert three[1] == pytest.approx(np.log(3) + np.log(2))
    np.testing.assert_allclose(three[0], np.array([1, 1, 1, 6]) * 4 / 9)


def test_samme_starts_anew_at_chance_and_bounds_a_perfect_member():
    y = np.array([0, 1])
    weights, vote = samme(np.array([0.5, 1.5]), y, proba_for(np.array([0, 0]), 2))
    assert vote == 0.0
    np.testing.assert_array_equal(weights, [1.0, 1.0])
    weights, vote = samme(np.ones(2), y, proba_for(y, 2))
    assert vote == pytest.approx(np.log(999))
    np.testing.assert_array_equal(weights, [1.0, 1.0])


@pytest.mark.parametrize("kind", KINDS)
def test_boosting_votes_and_reweights_as_samme_says(kind):
    result, parts = trained(kind, ensemble=Choice("boosting", (("rounds", 3),)))
    assert len(result.packs) == 3
    assert {len(pack.fold) for pack in result.packs} == {2}
    n_classes = parts.dataset.n_classes
    for fold in range(2):
        rows = parts.folds.folds[fold].train
        y, encoder = parts.dataset.y[rows], parts.encoder(fold)
        dense = encoder.dense(encoder.transform(parts.dataset.columns, rows), ple=True)
        weights = np.full(len(y), 1.0 / len(y))
        for pack in result.packs:
            predicted = posterior_of(pack, fold, dense).argmax(1)
            error = np.clip(weights[predicted != y].sum(), 1e-3, None)
            if error >= 1 - 1 / n_classes:
                assert pack.weight[fold] == 1e-6
                weights = np.full(len(y), 1.0 / len(y))
                continue
            vote = np.log((1 - error) / error * (n_classes - 1))
            assert pack.weight[fold] == pytest.approx(vote, rel=1e-9)
            weights = np.where(predicted != y, np.exp(vote), 1.0) * weights
            weights /= weights.sum()


def test_hard_rows_come_more_often_as_a_self_paced_ensemble_goes_on():
    """At first each bin of hardness contributes as much hardness, at last as many rows."""
    rows = np.arange(1_000, 2_000)
    hardness = np.repeat([0.01, 0.5, 0.99], [900, 60, 40])
    shares = []
    for progress in (0.0, 1.0):
        counts = np.zeros(3)
        for seed in range(300):
            drawn = self_paced_rows(rows, 12, hardness, progress, np.random.default_rng(seed))
            assert len(set(drawn)) == 12
            counts += np.bincount(np.searchsorted([0.1, 0.9], hardness[drawn - 1_000]), minlength=3)
        shares.append(counts / counts.sum())
    easy_first = (1 / np.array([0.01, 0.5, 0.99])) / (1 / np.array([0.01, 0.5, 0.99])).sum()
    np.testing.assert_allclose(shares[0], easy_first, atol=0.02)
    np.testing.assert_allclose(shares[1], [1 / 3] * 3, atol=0.04)


def test_a_self_paced_ensemble_hands_on_the_mean_probability_of_the_own_class():
    y, ensemble = np.array([0, 1]), ROOMS["ensemble"]["self_paced"].code(rounds=4, strength=1.0)
    handed = np.ones(2)
    for number, own in enumerate(([0.2, 0.8], [0.4, 0.6])):
        proba = np.array([[own[0], 1 - own[0]], [1 - own[1], own[1]]])
        handed, vote = ensemble.update(handed, y, proba, number)
        assert vote == 1.0
    np.testing.assert_allclose(handed, [0.3, 0.7])


def observed_rounds(monkeypatch, **choices):
    """Each round's pack, and the weights with which its training began and ended."""
    real, seen = running.train, []

    def recorded(network, pack, *args, **named):
        start = network.parameters.values.clone()
        real(network, pack, *args, **named)
        seen.append((pack, start, network.parameters.values.clone()))

    monkeypatch.setattr(running, "train", recorded)
    result, parts = trained("binary", **choices)
    return seen, result, parts


def test_an_easy_ensemble_boosts_within_bags(monkeypatch):
    values = (("members", 3), ("rounds", 3), ("strength", 1.0))
    seen, result, parts = observed_rounds(monkeypatch, ensemble=Choice("easy_ensemble", values))
    for member in range(6):
        bags = [set(pack.rows[member]) for pack, _, _ in seen]
        assert bags[0] == bags[1] == bags[2]
    fold0 = [frozenset(seen[0][0].rows[m]) for m in range(3)]
    assert len(set(fold0)) == 3
    # what a round got wrong in a bag weighs more in the next one, by e^vote
    encoder, rows = parts.encoder(0), parts.folds.folds[0].train
    dense = encoder.dense(encoder.transform(parts.dataset.columns, rows), ple=True)
    y, bag = parts.dataset.y[rows], np.array(sorted(fold0[0]))
    wrong = posterior_of(result.packs[0], 0, dense).argmax(1)[bag] != y[bag]
    error = np.clip(wrong.mean(), 1e-3, None)
    assert 0 < error < 0.5
    assert result.packs[0].weight[0] == pytest.approx(np.log((1 - error) / error))
    order = np.argsort(seen[1][0].rows[0])
    ratio = seen[1][0].weights[0][order] / seen[0][0].weights[0][np.argsort(seen[0][0].rows[0])]
    np.testing.assert_allclose(ratio[wrong].mean() / ratio[~wrong].mean(), (1 - error) / error)


def test_rus_boost_draws_balanced_rows_anew(monkeypatch):
    values = (("rounds", 3), ("strength", 1.0))
    seen, _, parts = observed_rounds(monkeypatch, ensemble=Choice("rus_boost", values))
    y = parts.dataset.y[parts.folds.folds[0].train]
    for pack, _, _ in seen:
        np.testing.assert_array_equal(np.bincount(y[pack.rows[0]]), [np.bincount(y).min()] * 2)
    assert len({frozenset(pack.rows[0]) for pack, _, _ in seen}) == 3


def test_a_snapshot_goes_on_where_the_last_one_ended(monkeypatch):
    seen, result, _ = observed_rounds(monkeypatch, ensemble=Choice("snapshot", (("rounds", 3),)))
    for (_, _, end), (_, start, _) in pairwise(seen):
        assert torch.equal(start, end)
    first, last = (result.packs[i].state["heads.weight"] for i in (0, 2))
    assert not np.array_equal(first, last)
    assert all((pack.weight == 1.0).all() for pack in result.packs)


def posterior_of(pack, fold: int, dense) -> np.ndarray:
    """Predict with one member by plain matrix products, no pack and no padding."""
    x, codes = (np.asarray(part, dtype=np.float64) for part in dense)
    state = {name: values[fold].astype(np.float64) for name, values in pack.state.items()}
    starts = np.cumsum([0, *pack.spec.cardinalities])[:-1]
    embedded = [
        state["embedding.table"][codes[:, j].astype(int) + start] for j, start in enumerate(starts)
    ]
    padding = np.zeros((len(x), pack.spec.n_inputs - x.shape[1]))
    h = np.hstack([*embedded, x, padding])
    for i in range(pack.spec.depth):
        h = np.maximum(h @ state[f"hidden{i}.weight"] + state[f"hidden{i}.bias"], 0.0)
    logits = h @ state["heads.weight"][0].T + state["heads.bias"][0] + pack.log_prior[fold]
    proba = np.exp(logits - logits.max(1, keepdims=True))
    return proba / proba.sum(1, keepdims=True)


def test_members_count_by_their_votes():
    random = np.random.default_rng(0)
    first, second = random.dirichlet(np.ones(2), (2, 5)), random.dirichlet(np.ones(2), (2, 5))
    got = fold_average([first, second], [[0, 1], [0, 1]], [[3.0, 1.0], [1.0, 1.0]])
    by_hand = ((3 * first[0] + second[0]) / 4 + (first[1] + second[1]) / 2) / 2
    np.testing.assert_allclose(got, by_hand)


@pytest.mark.parametrize("kind", KINDS)
def test_the_members_of_an_ensemble_differ(kind):
    for name in ("bagging", "balanced_bagging", "easy_ensemble"):
        option = chosen(ROOMS["ensemble"][name], 0.0)
        result, _ = trained(kind, ensemble=option)
        pack = result.packs[0]
        members = option.values["members"]
        np.testing.assert_array_equal(pack.fold, np.repeat([0, 1], members))
        heads = pack.state["heads.weight"]
        assert len({head.tobytes() for head in heads}) == 2 * members


# --- networks -------------------------------------------------------------------------------------


def test_a_perceptron_has_one_copy_and_tabm_has_k():
    small = {"width": 32, "depth": 1}
    for name, values, k in (
        ("mlp", small, 1),
        ("tabm", small | {"k": 4}, 4),
        ("tabm", small | {"k": 8}, 8),
    ):
        result, _ = trained(network=chosen(ROOMS["network"][name], 0.0, **values))
        pack = result.packs[0]
        assert (pack.spec.kind, pack.spec.k) == (name, k)
        assert pack.state["heads.weight"].shape[1] == k
        assert ("hidden0.scale" in pack.state) == (k > 1)
        if k > 1:  # the copies share the hidden weights, and still answer differently
            assert pack.state["hidden0.weight"].ndim == 3
            network = build(pack.spec, len(pack.fold))
            network.load(pack.state)
            x = torch.ones(2, 1, pack.spec.n_inputs)
            codes = torch.zeros(2, 1, len(pack.spec.cardinalities), dtype=torch.int64)
            logits = network.predict(x, codes)
            assert len(np.unique(logits[0, 0, :, 0].numpy())) == k


def test_every_network_option_reaches_the_network():
    spec = trained(network=chosen(ROOMS["network"]["mlp"], 0.0))[0].packs[0].spec
    changes = {
        "width": (48, {"width": 48}),
        "depth": (2, {"depth": 2}),
        "dropout": (0.25, {"dropout": 0.25}),
        "activation": ("silu", {"activation": "silu"}),
        "ple": (False, {"embedding": "none"}),
    }
    for field, (wanted, values) in changes.items():
        choice = chosen(ROOMS["network"]["mlp"], 0.0, **values)
        got = trained(network=choice)[0].packs[0].spec
        assert getattr(got, field) == wanted
        assert getattr(got, field) != getattr(spec, field)
    base = trained(network=chosen(ROOMS["network"]["mlp"], 0.0))[0].packs[0].state
    for key, value in {
        "learning_rate": 1e-2,
        "weight_decay": 0.3,
        "batch_factor": 2.0,
        "schedule": "cosine",
    }.items():
        choice = chosen(ROOMS["network"]["mlp"], 0.0, **{key: value})
        state = trained(network=choice)[0].packs[0].state
        assert not np.array_equal(state["heads.weight"], base["heads.weight"]), key


def test_weights_of_one_change_nothing_and_others_do():
    """Law 5, for the user's row weights."""
    dataset = dataset_of(*mixed_table("binary"))
    folds = plan_folds(dataset.y, cv=2, random_state=0)

    def state(weight):
        parts = Parts(replace(dataset, weight=weight), folds, seed=0)
        result = train_strategy(
            strategy_with(),
            parts,
            effort=short_plan(dataset, folds).effort,
            costs=None,
            measure=lambda y, proba, weight: 0.0,
            check=lambda: None,
        )
        return result.packs[0].state["heads.weight"]

    ones = np.ones(len(dataset.y))
    np.testing.assert_array_equal(state(ones), state(2.0 * ones))
    assert not np.array_equal(state(ones), state(1.0 + dataset.y))


def test_the_encoder_of_a_part_is_that_of_its_fold():
    dataset = dataset_of(*mixed_table("binary"))
    folds = plan_folds(dataset.y, cv=2, random_state=0)
    parts = Parts(dataset, folds, seed=0)
    rows = folds.folds[1].train
    encoder = Encoder.fit(dataset.columns, rows, layout=dataset.layout)
    wanted = encoder.transform(dataset.columns, rows)
    got = parts.training(1, Choice("none"))
    np.testing.assert_array_equal(got.encoded.numbers, wanted.numbers)
    np.testing.assert_array_equal(got.encoded.codes, wanted.codes)
    np.testing.assert_array_equal(got.y, dataset.y[rows])
