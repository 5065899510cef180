"""The bridge from Optuna to strategies: nothing is lost, nothing impossible is drawn."""

from __future__ import annotations

import json

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from autoimb.errors import OptionError
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.draw import Space, draw
from autoimb.space.ensemble import draws_balanced_rows
from autoimb.space.option import Choice, OneOf
from autoimb.space.portfolio import first_networks
from autoimb.space.reading import read_strategy
from autoimb.space.strategy import Strategy
from tests.support.tables import OPTIONS, chosen, strategy_with

optuna.logging.set_verbosity(optuna.logging.ERROR)
checked = settings(derandomize=True)


restrictions = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(st.sampled_from(component.names), min_size=1, unique=True)
        for name, component in COMPONENTS.items()
    },
)
seeds = st.integers(0, 2**31 - 1)


def searched(component):
    return tuple(option.name for option in COMPONENTS[component] if option.searched)


def idle(allowed):
    """Whether the components before the ensemble may leave the rows alone."""
    weights = allowed.get("class_weight", searched("class_weight"))
    rows = allowed.get("resampling", searched("resampling"))
    return "none" in rows and bool({"none", "costs"} & set(weights))


def possible(components):
    ensembles = components.get("ensemble", searched("ensemble"))
    return idle(components) or not all(draws_balanced_rows(name) for name in ensembles)


def space_of(components, *, costs=False):
    assume(possible(components))
    return Space.restricted(components, costs=costs)


def study_of(seed=0):
    return optuna.create_study(sampler=RandomSampler(seed=seed))


@checked
@given(restrictions, seeds, st.booleans())
def test_a_strategy_comes_back_from_its_parameters_and_from_json(components, seed, costs):
    space = space_of(components, costs=costs)
    trial = study_of(seed).ask()
    strategy = draw(trial, space)
    assert draw(FixedTrial(trial.params), space) == strategy
    assert Strategy.from_json(json.loads(json.dumps(strategy.to_json()))) == strategy
    line = {component: str(getattr(strategy, component)) for component in COMPONENTS}
    assert read_strategy(line) == read_strategy(strategy.to_json()) == strategy
    assert hash(Strategy.from_json(strategy.to_json())) == hash(strategy)


@checked
@given(restrictions, seeds)
def test_only_what_is_allowed_is_drawn(components, seed):
    space = space_of(components)
    strategy = draw(study_of(seed).ask(), space)
    for component, option in COMPONENTS.items():
        choice = getattr(strategy, component)
        assert choice.name in components.get(component, searched(component))
        assert [key for key, _ in choice.params] == list(option[choice.name].ranges)
    if draws_balanced_rows(strategy.ensemble.name):
        assert strategy.resampling.name == "none"
        assert strategy.class_weight.name in ("none", "costs")  # which stay what they are


@checked
@given(restrictions, seeds)
def test_the_strengths_of_two_methods_sum_to_one_at_most(components, seed):
    strategy = draw(study_of(seed).ask(), space_of(components))
    assert len(strategy.strengths) < 2 or sum(strategy.strengths) <= 1.0 + 1e-12
    assert all(value > 0 for value in strategy.strengths)


def test_the_distributions_of_a_study_are_those_of_the_option_tables():
    study = study_of(1)
    space = Space.restricted({component: COMPONENTS[component].names for component in COMPONENTS})
    for component, option in OPTIONS:
        study.enqueue_trial(CONTROL | {component.name: option.name})
        trial = study.ask()
        draw(trial, space)
        assert trial.distributions[component.name] == CategoricalDistribution(component.names)
        for key, bounds in option.ranges.items():
            drawn = trial.distributions[f"{component.name}.{option.name}.{key}"]
            if isinstance(bounds, OneOf):
                assert drawn == CategoricalDistribution(bounds.values)
            else:
                expected = (bounds.low, bounds.high, bounds.log)
                assert (drawn.low, drawn.high, drawn.log) == expected


# --- restricted spaces ----------------------------------------------------------------------------


@checked
@given(restrictions)
def test_components_that_exclude_each_other_are_refused_and_no_others(components):
    if possible(components):
        space = Space.restricted(components)
        for component in COMPONENTS:
            allowed = tuple(components.get(component, searched(component)))
            assert set(space.names(component)) <= set(allowed)
            assert component == "ensemble" or space.names(component) == allowed
    else:
        with pytest.raises(OptionError, match=r"balanced rows.*got resampling"):
            Space.restricted(components)


@pytest.mark.parametrize(
    ("components", "networks"),
    [
        ({}, 1),
        ({"ensemble": ("bagging",)}, 3),
        ({"ensemble": ("balanced_bagging", "self_paced")}, 4),
        ({"ensemble": ("easy_ensemble",)}, 4),  # two members of two rounds
        ({"ensemble": ("boosting", "easy_ensemble")}, 3),
        ({"ensemble": ("snapshot",)}, 1),  # every round continues the previous one
        ({"ensemble": ("bagging", "single")}, 1),
    ],
)
def test_a_space_has_the_networks_of_its_smallest_ensemble(components, networks):
    assert Space.restricted(components).min_networks == networks


def test_costs_are_the_class_weights_and_never_drawn_without_being_given():
    assert Space.restricted(costs=True).names("class_weight") == ("costs",)
    assert "costs" not in Space.restricted().names("class_weight")


def test_a_strategy_refuses_unknown_options_and_parameters():
    good = strategy_with().to_json()
    with pytest.raises(OptionError, match="Unknown loss option 'hinge'"):
        Strategy.from_json({**good, "loss": {"name": "hinge", "params": {}}})
    with pytest.raises(OptionError, match=r"'focal' takes the parameters \['gamma'\]"):
        Strategy.from_json({**good, "loss": {"name": "focal", "params": {"tau": 1.0}}})


def test_strengths_that_sum_to_one_are_allowed():
    row = {
        "resampling": "random_over(strength=0.7)",
        "class_weight": "power(tau=0.3)",
        "loss": "cross_entropy",
        "ensemble": "single",
        "network": str(chosen(COMPONENTS["network"]["mlp"], 0.0)),
    }
    assert read_strategy(row).strengths == [0.7, 0.3]
    with pytest.raises(OptionError, match="sum to at most 1"):
        read_strategy(row | {"class_weight": "power(tau=0.30001)"})


def test_a_description_names_what_does_not_go_without_saying():
    short = chosen(COMPONENTS["network"]["tabm"], 0.0, embedding="none")
    assert strategy_with(network=short).describe() == "no imbalance method on tabm (4×32×1)"
    periodic = chosen(COMPONENTS["network"]["tabm"], 0.0, embedding="pbld")
    power = Choice("power", (("tau", 1 / 3),))
    description = strategy_with(network=periodic, class_weight=power).describe()
    assert description == "power(tau=0.333) on tabm (4×32×1, pbld)"


# --- the first trials -----------------------------------------------------------------------------


def enqueued(params, space):
    """Draw a trial that was enqueued; what it drew must be what was asked for."""
    study = study_of(5)
    study.enqueue_trial(params)
    trial = study.ask()
    strategy = draw(trial, space)
    for key, value in params.items():
        if key in trial.params:
            assert trial.params[key] == value, key
        else:  # an ensemble that draws its own rows leaves these components nothing to ask
            assert key in ("resampling", "class_weight")
            assert getattr(strategy, key).name == value
    return strategy


@checked
@given(restrictions, st.booleans())
def test_the_first_networks_are_valid_controls(components, costs):
    space = space_of(components, costs=costs)
    for params in first_networks(space):
        strategy = enqueued(params, space)
        for component, control in CONTROL.items():
            if control in space.names(component):
                assert getattr(strategy, component).name == control
        assert strategy.network.name in space.names("network")
