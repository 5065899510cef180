"""Each option against an independent oracle, so that none is another one in disguise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

import autoimb.training.fit as fitting
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.rows import Encoded
from autoimb.pipeline.fitted import inputs_of
from autoimb.space.components import COMPONENTS
from autoimb.space.ensemble import Round, RoundResult, samme, self_paced_rows
from autoimb.space.resampling.component import under_counts
from autoimb.space.strategy import Choice
from tests.support.tables import (
    chosen,
    dataset_of,
    mixed_table,
    parts_of,
    short_plan,
    strategy_with,
)
from tests.support.tables import trained as trained_on

KINDS = ("binary", "multiclass")


# --- class weights --------------------------------------------------------------------------------


def test_power_one_is_balanced_and_half_its_root():
    y = np.repeat([0, 1, 2], [70, 20, 10])
    counts = np.array([70.0, 20.0, 10.0])
    weigh = COMPONENTS["class_weight"]["power"].code
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=y)
    np.testing.assert_allclose(weigh(counts, None, tau=1.0), balanced)
    np.testing.assert_allclose(weigh(counts, None, tau=0.5), np.sqrt(balanced))


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.9999])
def test_effective_number_is_the_formula_of_cui(beta):
    counts = np.array([700.0, 20.0, 1.0])
    got = COMPONENTS["class_weight"]["effective_number"].code(
        counts, None, beta_complement=1 - beta
    )
    np.testing.assert_allclose(got, (1 - beta) / (1 - beta**counts), rtol=1e-9)


def test_costs_are_the_users_and_none_is_one():
    counts, costs = np.array([9.0, 3.0]), np.array([1.0, 8.0])
    for name, weights in (("costs", costs), ("none", [1.0, 1.0])):
        weigh = COMPONENTS["class_weight"][name].code
        np.testing.assert_array_equal(weigh(counts, costs), weights)


# --- what a strategy trains -----------------------------------------------------------------------


def trained(kind: str = "binary", **choices):
    """Train a strategy for two checkpoints on two folds."""
    dataset = dataset_of(*mixed_table(kind))
    plan = short_plan(dataset)
    return trained_on(strategy_with(**choices), dataset, plan), parts_of(dataset, plan)


def drawn(name: str, y: np.ndarray, members: int = 4, **values) -> list[np.ndarray]:
    option = COMPONENTS["ensemble"][name]
    key = "rounds" if "rounds" in option.ranges else "members"
    code = {key: members} if key in option.ranges else {}
    ensemble = option.code(**code, **values)
    ones = np.ones(len(y))
    return [
        ensemble.draw(Round(y, ones, 0.0, np.random.default_rng([0, m]))) for m in range(members)
    ]


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


def ended(y: np.ndarray, labels: Any, *, n_classes: int = 2, weight: Any = None) -> RoundResult:
    """A round whose member gives these labels."""
    weight = np.ones(len(y)) if weight is None else weight
    proba = np.where(np.eye(n_classes)[labels] == 1, 0.8, 0.2 / (n_classes - 1))
    return RoundResult(y, weight, proba)


def test_samme_counts_an_error_as_the_row_weighs():
    """A row of weight 2 is the row standing there twice."""
    y, labels = np.array([0, 0, 1, 1]), [0, 1, 1, 0]
    rows = np.array([0, 1, 2, 3, 3])
    times, vote = samme(np.ones(4), ended(y, labels, weight=np.array([1.0, 1.0, 1.0, 2.0])))
    twice, same = samme(np.ones(5), ended(y[rows], np.array(labels)[rows]))
    assert vote == pytest.approx(same)
    np.testing.assert_allclose(times[rows], twice)


def test_samme_starts_anew_at_chance_and_bounds_a_perfect_member():
    y = np.array([0, 1])
    weights, vote = samme(np.array([0.5, 1.5]), ended(y, [0, 0]))
    assert vote == 0.0
    np.testing.assert_array_equal(weights, [1.0, 1.0])
    weights, vote = samme(np.ones(2), ended(y, y))
    assert vote == pytest.approx(np.log(999))
    np.testing.assert_array_equal(weights, [1.0, 1.0])


def training_rows(encoder: Encoder, dataset: Dataset, rows: np.ndarray) -> Encoded:
    """Encode a fold's rows for training on them."""
    return encoder.transform_training(dataset.columns, rows, dataset.y, dataset.weight)


def posterior_of(pack, fold: int, dense) -> np.ndarray:
    """Predict a fold's rows with its first member."""
    inputs = inputs_of([dense], pack.spec.n_inputs)
    return pack.of_folds({fold}).predictor()(inputs)[0, : len(dense[0])]


@pytest.mark.parametrize("kind", KINDS)
def test_boosting_votes_and_reweights_as_samme_says(kind):
    result, parts = trained(kind, ensemble=Choice("boosting", (("rounds", 3),)))
    assert len(result.packs) == 3
    assert {len(pack.fold) for pack in result.packs} == {2}
    n_classes = parts.dataset.n_classes
    for fold in range(2):
        rows = parts.folds.folds[fold].train
        y, encoder = parts.dataset.y[rows], parts.encoder(fold)
        dense = encoder.dense(training_rows(encoder, parts.dataset, rows), ple=True)
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


def test_a_row_alone_in_its_bin_has_all_of_its_chance():
    """Ten rows of hardness .1 share a chance of 10, at first; the one of hardness .9 has 1 / .9."""
    rows, hardness = np.arange(11), np.array([*[0.1] * 10, 0.9])
    drawn = [
        self_paced_rows(Round(rows, 1 - hardness, 0.0, np.random.default_rng(seed)), rows, 1)[0]
        for seed in range(4_000)
    ]
    assert np.mean(np.equal(drawn, 10)) == pytest.approx(1 / 0.9 / (10 + 1 / 0.9), abs=0.015)


def test_hard_rows_come_more_often_as_a_self_paced_ensemble_goes_on():
    """At first each bin of hardness contributes as much hardness, at last as many rows."""
    rows = np.arange(1_000)
    hardness = np.repeat([0.01, 0.5, 0.99], [900, 60, 40])
    shares = []
    for progress in (0.0, 1.0):
        counts = np.zeros(3)
        for seed in range(300):
            a_round = Round(rows, 1 - hardness, progress, np.random.default_rng(seed))
            drawn = self_paced_rows(a_round, rows, 12)
            assert len(set(drawn)) == 12
            counts += np.bincount(np.searchsorted([0.1, 0.9], hardness[drawn]), minlength=3)
        shares.append(counts / counts.sum())
    easy_first = (1 / np.array([0.01, 0.5, 0.99])) / (1 / np.array([0.01, 0.5, 0.99])).sum()
    np.testing.assert_allclose(shares[0], easy_first, atol=0.02)
    np.testing.assert_allclose(shares[1], [1 / 3] * 3, atol=0.04)


def test_a_self_paced_ensemble_passes_on_the_mean_probability_of_the_own_class():
    y, ensemble = (
        np.array([0, 1]),
        COMPONENTS["ensemble"]["self_paced"].code(rounds=4, strength=1.0),
    )
    row_state = np.ones(2)
    for number, own in enumerate(([0.2, 0.8], [0.4, 0.6])):
        proba = np.array([[own[0], 1 - own[0]], [1 - own[1], own[1]]])
        row_state, vote = ensemble.update(row_state, RoundResult(y, np.ones(2), proba, number))
        assert vote == 1.0
    np.testing.assert_allclose(row_state, [0.3, 0.7])


def observed_rounds(monkeypatch, **choices):
    """Each round's pack, and the weights with which its training began and ended."""
    real, rounds = fitting.train, []

    def recorded(network, pack, *args, **named):
        start = network.parameters.values.clone()
        yield from real(network, pack, *args, **named)
        rounds.append((pack, start, network.parameters.values.clone()))

    monkeypatch.setattr(fitting, "train", recorded)
    result, parts = trained("binary", **choices)
    return rounds, result, parts


def test_an_easy_ensemble_boosts_within_bags(monkeypatch):
    values = (("members", 3), ("rounds", 3), ("strength", 1.0))
    rounds, result, parts = observed_rounds(monkeypatch, ensemble=Choice("easy_ensemble", values))
    for member in range(6):
        bags = [set(pack.rows[member]) for pack, _, _ in rounds]
        assert bags[0] == bags[1] == bags[2]
    fold0 = [frozenset(rounds[0][0].rows[m]) for m in range(3)]
    assert len(set(fold0)) == 3
    # what a round got wrong in a bag weighs more in the next one, by e^vote
    encoder, rows = parts.encoder(0), parts.folds.folds[0].train
    dense = encoder.dense(training_rows(encoder, parts.dataset, rows), ple=True)
    y, bag = parts.dataset.y[rows], np.array(sorted(fold0[0]))
    wrong = posterior_of(result.packs[0], 0, dense).argmax(1)[bag] != y[bag]
    error = np.clip(wrong.mean(), 1e-3, None)
    assert 0 < error < 0.5
    assert result.packs[0].weight[0] == pytest.approx(np.log((1 - error) / error))
    order = np.argsort(rounds[1][0].rows[0])
    ratio = (
        rounds[1][0].weights[0][order] / rounds[0][0].weights[0][np.argsort(rounds[0][0].rows[0])]
    )
    np.testing.assert_allclose(ratio[wrong].mean() / ratio[~wrong].mean(), (1 - error) / error)


def test_rus_boost_draws_balanced_rows_anew(monkeypatch):
    values = (("rounds", 3), ("strength", 1.0))
    rounds, _, parts = observed_rounds(monkeypatch, ensemble=Choice("rus_boost", values))
    y = parts.dataset.y[parts.folds.folds[0].train]
    for pack, _, _ in rounds:
        np.testing.assert_array_equal(np.bincount(y[pack.rows[0]]), [np.bincount(y).min()] * 2)
    assert len({frozenset(pack.rows[0]) for pack, _, _ in rounds}) == 3


def test_a_snapshot_goes_on_where_the_last_one_ended(monkeypatch):
    rounds, result, _ = observed_rounds(monkeypatch, ensemble=Choice("snapshot", (("rounds", 3),)))
    for (_, _, end), (_, start, _) in pairwise(rounds):
        assert torch.equal(start, end)
    first, last = (result.packs[i].state["heads.weight"] for i in (0, 2))
    assert not np.array_equal(first, last)
    assert all((pack.weight == 1.0).all() for pack in result.packs)


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "body", "embedding", "copies"),
    [
        ("mlp", "plain", "none", {}),
        ("resnet", "residual", "ple", {}),
        ("realmlp", "scaled", "pbld", {}),
        ("tabm", "plain", "ple", {"k": 4}),
        ("tabm", "plain", "ple", {"k": 8}),
    ],
)
def test_a_network_is_built_of_its_layers_and_copies(name, body, embedding, copies):
    choice = chosen(COMPONENTS["network"][name], 0.0, width=32, embedding=embedding, **copies)
    pack, k = trained(network=choice)[0].packs[0], copies.get("k", 1)
    spec = pack.spec
    n_numbers = dataset_of(*mixed_table("binary")).columns.numbers.shape[1]
    assert (spec.kind, spec.body, spec.ple, spec.k) == (name, body, embedding == "ple", k)
    assert spec.periodic == (n_numbers if embedding == "pbld" else 0)
    assert pack.state["heads.weight"].shape[1] == k
    if copies:  # which differ in their scales of the inputs
        assert len(np.unique(pack.state["hidden0.scale"][0], axis=1).T) == k


def test_every_network_option_reaches_the_network():
    def pack(**values):
        choice = chosen(COMPONENTS["network"]["mlp"], 0.0, **values)
        return trained(network=choice)[0].packs[0]

    base = pack()
    changed = {"width": 48, "depth": 2, "dropout": 0.25, "activation": "silu"}
    spec = pack(**changed, embedding="none").spec
    assert {field: getattr(spec, field) for field in changed} == changed
    assert (spec.ple, base.spec.ple) == (False, True)
    for values in (
        {"learning_rate": 1e-2},
        {"weight_decay": 0.3},
        {"batch_factor": 2.0},
        {"schedule": "cosine"},
    ):
        heads = pack(**values).state["heads.weight"]
        assert not np.array_equal(heads, base.state["heads.weight"]), values
