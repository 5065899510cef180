"""The constants that steer a search, each with what supports it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["DEFAULT_POLICY", "UNMEASURED", "FirstMethod", "FirstNetwork", "SearchPolicy"]

UNMEASURED = "unmeasured"
FirstNetwork = tuple[str, dict[str, Any]]  # the network option and its parameters
FirstMethod = dict[str, tuple[str, dict[str, Any]]]  # by component the option and its parameters

_METHODS: tuple[FirstMethod, ...] = (
    {"class_weight": ("power", {"tau": 0.5})},
    {"loss": ("logit_adjusted", {"tau": 0.5})},
    {"ensemble": ("balanced_bagging", {"members": 8, "strength": 0.8})},
    {"resampling": ("batch_balancing", {"strength": 0.3, "floor": 1})},
    {"resampling": ("random_over", {"strength": 0.5})},
    {"resampling": ("random_under", {"strength": 0.5})},
    {"loss": ("focal", {"gamma": 1.0})},
    {"resampling": ("smote", {"strength": 0.5, "k_neighbors": 5})},
    {"ensemble": ("bagging", {"members": 8})},
    {"ensemble": ("self_paced", {"rounds": 8, "strength": 0.8})},
    {"ensemble": ("snapshot", {"rounds": 4})},
    {"class_weight": ("effective_number", {"beta_complement": 1e-3})},
    {"ensemble": ("boosting", {"rounds": 3})},
    {"loss": ("logit_adjusted", {"tau": 1.0})},
    {"class_weight": ("power", {"tau": 1.0})},
    {"loss": ("focal", {"gamma": 2.0})},
    {"resampling": ("random_under", {"strength": 1.0})},
    {"resampling": ("tomek_links", {"strength": 1.0})},
    {"resampling": ("smote_enn", {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0})},
    {"resampling": ("smote_tomek", {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0})},
    {"resampling": ("cluster_centroids", {"strength": 0.8})},
)


_LIKELIEST = (
    *("random_over", "focal", "power", "batch_balancing", "logit_adjusted", "effective_number"),
    *("smote", "self_paced", "tomek_links", "random_under", "balanced_bagging", "smote_tomek"),
    *("smote_enn", "cluster_centroids"),
)


def _set(value: Any, support: str) -> Any:
    """Declare a constant, and the design page or benchmark under ``reports/`` that supports it."""
    return field(default=value, metadata={"support": support})


@cache
def _learned_networks() -> tuple[FirstNetwork, ...]:
    entries = json.loads(files("autoimb").joinpath("first_networks.json").read_text("utf-8"))
    return tuple((entry["name"], entry["params"]) for entry in entries)


@dataclass(frozen=True)
class SearchPolicy:
    """How a search spends its time and its rows. Shares are of 1, seconds are wall-clock.

    Attributes
    ----------
    first_networks : tuple of (str, dict)
        Networks without an imbalance method, tried first, in this order.
    first_methods : tuple of dict
        Imbalance methods, tried one at a time on the best network so far, in this order.
    networks_before_methods : int
        How many of them come before the first imbalance method; then they take turns.
    methods_share : float
        Of the time of all trials, that imbalance methods may take while none of them leads.
    longer_share : float
        Of the search's time, at its end, in which the best are trained for more than the planned
        work.
    confirming_share : float
        Of the search's time, at its end, that goes to confirming the best trials.
    confirmed_trials : int
        How many of the best are confirmed.
    confirming_errors : float
        Errors of its score, by which one of them may lie below the best and could still win.
    confirming_margin : float
        Times the seconds that confirming is expected to take, that must be left.
    duels_share : float
        Of the time of all trials so far, that matched duels may take.
    duels_a_strategy : float
        Matched duels for each strategy that was tried, where no deadline counts time.
    controls_before_duels : int
        Networks with a score, of which the best becomes the control of all duels.
    duel_order : tuple of str
        Imbalance methods, those first that helped most often; others come last.
    duel_rung : float
        Times the planned work of a strategy, that all folds of a duel have together.
    duel_folds, least_duel_folds, rare_rows_a_duel_fold : int
        Of the split that duels are on, where each fold gets so many rows of the rarer classes; with
        too few for the least of them there are no duels.
    time_blocks, rare_rows_a_block, time_parts : int
        Most blocks of forward folds, how many rows of the rarer classes each needs, and how many
        parts groups are dealt to where there are both.
    most_duel_rows : int
        Of a table, that duels see.
    duel_level, equivalence_level : float
        Of the tests that a method helps or hurts, over all methods of a search, and of each that
        it makes no difference.
    duel_margin : tuple of two floats
        Difference in a score that is none: at least, and as a share of the control's.
    rungs : tuple of float
        Times the planned work that a strategy is trained for, step by step.
    first_rungs : tuple of two floats
        At which a network begins, and at which an imbalance method on the best network does.
    promoted_share : float
        Of the strategies of a rung below the planned work, that go on to the next.
    least_complete : int
        Strategies that go on to the planned work before a search of so many trials ends.
    few_rare_rows : int
        With fewer rows of the rarer classes (`minority_count`) the scores of many strategies, of
        many columns and of weights are mostly luck: partners have half of a blend then.
    strategies_on_few_rare_rows : int
        How many are tried then; the rest of the time confirms them.
    columns_on_few_rare_rows : int
        Numbers, and as many one-hot columns, that networks then read in each fold.
    least_columns : int
        Numbers, and as many one-hot columns, that networks may always read otherwise, however wide
        the table.
    sampler_best, sampler_newest : int
        Strategies that the sampler learns from: the newest, and the best of those before them.
    trial_share : float
        Of the budget: what one trial may take at most.
    networks_kept : int
        Best trials whose fitted networks are kept: a blend takes at most ten.
    least_trial_seconds : float
        With less left no trial is started.
    known_in_a_row : int
        Strategies drawn in a row that need no evaluation: then the space has no more to give, but
        for methods where the first control still runs.
    hopeless_trials : int
        Trials failed or infeasible, and no other: then the search ends.
    pruning_begins : float
        Share of its planned checkpoints, before which no trial is given up.
    pruning_slack : float
        Of the best trial's measure, that a trial may always lie below it.
    process_bytes : int
        Of a process that searches, before it holds rows; told by a dry run, and decides nothing.
    operations_a_second : float
        Floating-point operations that the plan counts on.
    predicted_products_a_second, predicted_values_a_second, predicted_nodes_a_second : float
        Of prediction on one thread: a network's multiplications, the numbers that it makes one by
        one, and the nodes of trees that a row visits.
    trials_a_worker : int
        Strategies that the plan would like each worker to complete in a budget.
    search_share : float
        Of the budget, that the plan counts on for trials.
    unlimited_seconds : float
        Planned for where there is no budget.
    planned_width : int
        Of the network that the size of a study is planned for.
    least_epochs : float
        Over its rows, that a member must be able to make; one that can't sees fewer rows.
    least_training_rows : int
        That a study keeps, however short its time.
    least_member_rows : int
        That a member sees, however short its time.
    most_input_bytes : int
        Of a network's inputs on all folds, in each worker.
    memory_share : float
        Of the machine's memory, that a search may take where the user does not say how much.
    table_share : float
        Of that, what the rows of a table may take; of a larger one some are drawn.
    most_classes : int
        That a target of a table in parts may have.
    unseen_rows : int
        Of a sample, left out of the study, that tell the level of the result.
    unseen_share : float
        Of the budget, that predicting them may take.
    most_scored_rows, most_scored_cells : int
        More would sharpen the scores of the common classes alone, and of very many classes take
        longer than a search: rows, and rows times classes.
    checkpoints_by_rows : tuple of (rows below, most checkpoints, patience)
        The last entry is for all larger tables.
    least_checkpoints : int
    least_steps : int
        Between two checkpoints.
    most_times_planned : float
        The planned work of a trial, that its networks may cost.
    rare_rows_for_metric : int
        With fewer the log-loss chooses the checkpoint: the metric is too noisy.
    rows_for_three_folds : int
        From here on three folds do instead of five.
    rare_rows_for_three_folds : int
        With fewer three folds would train on too few of them.
    rows_for_one_repeat : int
        Below, the best strategies are cross-validated again on other splits into folds.
    repeats : int
        Of the split into folds, the first one included.
    confirming_folds, rare_rows_a_confirming_fold : int
        Of the one repeat that confirms on larger tables, and how many rows of the rarest class
        each of them needs.
    blended_strategies, blend_candidates, least_blend_candidates, blend_bags, blend_steps : int
        At most in a blend; at most and at least weighed; bags of them; drawn in a bag.
    blend_work : int
        Rows scored in one fit, about a second; counted, so that no clock decides.
    replays, replayed_at_a_time, replayed_trials : int
        Bootstrap samples on which the choice is made again, how many between two looks at the
        clock, and from how many of the best trials.
    replay_work : int
        Rows times candidates times samples between two looks, and times two where another value is
        reported than chose; counted, so that no clock decides how many rows a sample has.
    trained_variance, dependent_trained_variance : float
        Variance that training gives a reported score, as a share of what the scored rows give it;
        the second one where rows come in groups, in time or in folds of the user's.
    foreign_work : int
        Times the work of a metric of ours that another's is: so many times fewer rows in a sample,
        and samples between two looks.
    rare_rows_a_reported_group : int
        With fewer in a group, the reported value is of all rows together.
    reserve_share, least_reserve, most_reserve : float
        Share of the budget for what follows the search, in seconds at least and at most.
    cell_reserve, most_cell_reserve : float
        Seconds of it for each scored row and class, where that is more; the share of the budget
        that these may take, also on a busy machine.
    most_pace, most_paced_reserve : float
        How many times as much is kept at most where others compute too; the share of the budget
        that `least_reserve` may take then.
    workers_memory : float
        Of the memory that is free when a search begins, what its workers may hold, in equal parts.
    least_worker_bytes : int
        That each of them may hold all the same: less would be the end of every trial.
    partners : tuple of str
        Which are tried unless told otherwise, in this order.
    strategies_before_partners : tuple of int
        How many strategies were tried before each begins; one more where there is one worker.
    least_partner_seconds, partner_work : float
        Of a search, with less there are none; and times the work of a trial.
    least_iterations, fresh_iterations, most_iterations : int
        Of a partner's boosting: in any case, on the folds that confirm, and at most.
    networks_share : float
        Of a blend's weight, at least; else partners have no share in it.
    compared_rows : int
        Scored rows, evenly over the classes, on which networks are compared with their mean.
    choosing_share, blending_share, reference_share, facts_share : float
        Of what is then left: for choosing the result, and of that for weighing a blend, the replays
        having the rest; what a reference may take at most, and for the report's scores.
    test_share, test_row_seconds : float
        Of the budget, that predicting test rows may take at most, and what is counted for a row.
    largest_share_error : float
        Standard error of a share of a class's rows, above which its rows are too few.
    perfect_separation : float
        ROC AUC of one column alone, from which on it is suspicious.
    least_separated_rows : int
        Of a class, for that.
    copied_share, contradicted_share : float
        Of the rows outside the most frequent class, that equal training rows give away; whose
        equal rows are of others.
    reference_errors : float
        Standard errors of a difference, beyond which a reference is better than the result.
    structure_errors : float
        Standard errors by which random folds must score higher than whole days or values.
    structure_share : float
        Of the budget, that comparing them may take.
    changed_labels : float
        For each label that is not the most frequent class, that another sample may change.
    rule_replicates : int
        Bootstrap samples that tell how many it changes.
    """

    first_networks: tuple[FirstNetwork, ...] = field(
        default_factory=_learned_networks,
        metadata={"support": "design/networks.md"},
    )
    first_methods: tuple[FirstMethod, ...] = _set(_METHODS, "design/imbalance-methods.md")
    networks_before_methods: int = _set(4, "design/rungs-and-pruning.md")
    methods_share: float = _set(0.25, "design/rungs-and-pruning.md")
    longer_share: float = _set(0.75, "design/rungs-and-pruning.md")
    confirming_share: float = _set(0.5, "design/validation-folds.md")
    confirmed_trials: int = _set(8, "design/validation-folds.md")
    confirming_errors: float = _set(2.0, UNMEASURED)
    confirming_margin: float = _set(1.25, UNMEASURED)
    duels_share: float = _set(0.2, "design/paired-comparisons.md")
    duels_a_strategy: float = _set(0.5, UNMEASURED)
    controls_before_duels: int = _set(3, UNMEASURED)
    duel_order: tuple[str, ...] = _set(_LIKELIEST, "benchmarks/methods/methods.md")
    duel_rung: float = _set(1 / 2, "design/paired-comparisons.md")
    duel_folds: int = _set(20, "design/paired-comparisons.md")
    least_duel_folds: int = _set(5, UNMEASURED)
    rare_rows_a_duel_fold: int = _set(2, UNMEASURED)
    time_blocks: int = _set(6, UNMEASURED)
    rare_rows_a_block: int = _set(5, UNMEASURED)
    time_parts: int = _set(3, UNMEASURED)
    most_duel_rows: int = _set(8_000, "design/paired-comparisons.md")
    duel_level: float = _set(0.1, "design/paired-comparisons.md")
    equivalence_level: float = _set(0.05, "design/paired-comparisons.md")
    duel_margin: tuple[float, float] = _set((0.01, 0.05), "design/paired-comparisons.md")
    rungs: tuple[float, ...] = _set((1 / 16, 1 / 4, 1.0, 4.0), "design/rungs-and-pruning.md")
    first_rungs: tuple[float, float] = _set((1 / 4, 1 / 16), "design/rungs-and-pruning.md")
    promoted_share: float = _set(1 / 3, "design/rungs-and-pruning.md")
    least_complete: int = _set(12, "design/rungs-and-pruning.md")
    few_rare_rows: int = _set(100, "design/validation-folds.md")
    strategies_on_few_rare_rows: int = _set(40, "design/validation-folds.md")
    columns_on_few_rare_rows: int = _set(50, "design/encoding.md")
    least_columns: int = _set(256, "design/planning-and-budgets.md")
    sampler_best: int = _set(25, "design/long-searches.md")
    sampler_newest: int = _set(975, "design/long-searches.md")
    trial_share: float = _set(0.25, UNMEASURED)
    networks_kept: int = _set(12, UNMEASURED)
    least_trial_seconds: float = _set(0.5, UNMEASURED)
    known_in_a_row: int = _set(50, UNMEASURED)
    hopeless_trials: int = _set(20, UNMEASURED)
    pruning_begins: float = _set(0.3, "design/rungs-and-pruning.md")
    pruning_slack: float = _set(0.1, "design/rungs-and-pruning.md")
    process_bytes: int = _set(300_000_000, "design/long-searches.md")
    operations_a_second: float = _set(40e9, "design/planning-and-budgets.md")
    predicted_products_a_second: float = _set(40e9, "design/deployment-limits.md")
    predicted_values_a_second: float = _set(200e6, "design/deployment-limits.md")
    predicted_nodes_a_second: float = _set(120e6, "design/deployment-limits.md")
    trials_a_worker: int = _set(20, "design/planning-and-budgets.md")
    search_share: float = _set(0.8, UNMEASURED)
    unlimited_seconds: float = _set(300.0, UNMEASURED)
    planned_width: int = _set(128, UNMEASURED)
    least_epochs: float = _set(1.5, "design/planning-and-budgets.md")
    least_training_rows: int = _set(20_000, "design/planning-and-budgets.md")
    least_member_rows: int = _set(2_000, UNMEASURED)
    most_input_bytes: int = _set(2**29, UNMEASURED)
    memory_share: float = _set(0.5, UNMEASURED)
    table_share: float = _set(1 / 16, "design/tables-larger-than-memory.md")
    most_classes: int = _set(10_000, UNMEASURED)
    unseen_rows: int = _set(200_000, "design/tables-larger-than-memory.md")
    unseen_share: float = _set(0.1, UNMEASURED)
    most_scored_rows: int = _set(40_000, UNMEASURED)
    most_scored_cells: int = _set(2_000_000, "design/planning-and-budgets.md")
    checkpoints_by_rows: tuple[tuple[float, int, int], ...] = _set(
        ((3_000, 60, 4), (15_000, 40, 5), (60_000, 20, 4), (float("inf"), 10, 3)),
        "design/rungs-and-pruning.md",
    )
    least_checkpoints: int = _set(5, UNMEASURED)
    least_steps: int = _set(10, UNMEASURED)
    most_times_planned: float = _set(2.0, UNMEASURED)
    rare_rows_for_metric: int = _set(50, UNMEASURED)
    rows_for_three_folds: int = _set(15_000, UNMEASURED)
    rare_rows_for_three_folds: int = _set(150, UNMEASURED)
    rows_for_one_repeat: int = _set(3_000, "design/validation-folds.md")
    repeats: int = _set(4, "design/validation-folds.md")
    confirming_folds: int = _set(8, "design/validation-folds.md")
    rare_rows_a_confirming_fold: int = _set(10, "design/validation-folds.md")
    blended_strategies: int = _set(10, UNMEASURED)
    blend_candidates: int = _set(25, UNMEASURED)
    least_blend_candidates: int = _set(4, UNMEASURED)
    blend_bags: int = _set(8, UNMEASURED)
    blend_steps: int = _set(8, UNMEASURED)
    blend_work: int = _set(10_000_000, UNMEASURED)
    replays: int = _set(200, "design/reported-score.md")
    replay_work: int = _set(20_000_000, UNMEASURED)
    replayed_at_a_time: int = _set(100, "design/reported-score.md")
    replayed_trials: int = _set(25, UNMEASURED)
    trained_variance: float = _set(0.25, "design/reported-score.md")
    dependent_trained_variance: float = _set(1.5, "design/later-rows.md")
    foreign_work: int = _set(20, UNMEASURED)
    rare_rows_a_reported_group: int = _set(50, "design/reported-score.md")
    workers_memory: float = _set(0.8, UNMEASURED)
    least_worker_bytes: int = _set(2**29, "design/workers.md")
    partners: tuple[str, ...] = _set(
        ("medium_trees", "forest", "small_trees", "wide_forest", "large_trees"),
        "design/tree-models.md",
    )
    strategies_before_partners: tuple[int, ...] = _set((0, 8, 12, 20, 24), UNMEASURED)
    least_partner_seconds: float = _set(4.0, UNMEASURED)
    partner_work: float = _set(1.0, "design/tree-models.md")
    least_iterations: int = _set(100, UNMEASURED)
    fresh_iterations: int = _set(150, "design/tree-models.md")
    most_iterations: int = _set(800, "design/tree-models.md")
    networks_share: float = _set(0.2, UNMEASURED)
    compared_rows: int = _set(1_000, "design/calibration.md")
    reserve_share: float = _set(0.12, UNMEASURED)
    choosing_share: float = _set(0.75, UNMEASURED)
    blending_share: float = _set(0.7, UNMEASURED)
    reference_share: float = _set(0.4, UNMEASURED)
    facts_share: float = _set(0.5, UNMEASURED)
    test_share: float = _set(0.1, UNMEASURED)
    test_row_seconds: float = _set(2.5e-4, UNMEASURED)
    largest_share_error: float = _set(0.05, "design/checks.md")
    perfect_separation: float = _set(0.9999, "design/checks.md")
    least_separated_rows: int = _set(5, UNMEASURED)
    copied_share: float = _set(0.05, "design/checks.md")
    contradicted_share: float = _set(0.05, "design/checks.md")
    reference_errors: float = _set(2.0, UNMEASURED)
    structure_errors: float = _set(3.0, "design/undeclared-structure.md")
    structure_share: float = _set(0.04, "design/undeclared-structure.md")
    changed_labels: float = _set(0.25, "design/checks.md")
    rule_replicates: int = _set(20, UNMEASURED)
    least_reserve: float = _set(3.0, UNMEASURED)
    most_reserve: float = _set(60.0, UNMEASURED)
    cell_reserve: float = _set(2e-5, "design/planning-and-budgets.md")
    most_cell_reserve: float = _set(0.5, "design/planning-and-budgets.md")
    most_pace: float = _set(5.0, "design/planning-and-budgets.md")
    most_paced_reserve: float = _set(0.25, "design/planning-and-budgets.md")


DEFAULT_POLICY = SearchPolicy()
