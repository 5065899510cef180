"""The fitted pipeline: from the user's table to probabilities and labels.

Law 4 in one place: `member_posterior` takes every member's logits back to the real distribution
before anything is averaged, and `fold_average` averages. The search computes its out-of-fold
probabilities with the same two functions that prediction uses.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from autoimb.assessment.calibration import (
    Calibrator,
    correct_prior,
    finish,
    focal_posterior,
    log_proba,
)
from autoimb.assessment.costs import Matrix
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.decision.threshold import ThresholdCounts, threshold_for
from autoimb.assessment.metrics import EXPECTED_COST, get_metric
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.rows import Encoded
from autoimb.data.schema import Columns, Schema, parse
from autoimb.data.table import check_lengths, row_weights
from autoimb.data.target import match_labels
from autoimb.errors import ArtifactError, InputError, OptionError
from autoimb.nn.spec import NetworkSpec
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.container import FORMAT
from autoimb.pipeline.manifest import Info, LabelPart, Manifest, PackPart, StrategyPart, TreesPart
from autoimb.pipeline.summary import in_a_line, in_a_table, in_words, plain_labels, summarise
from autoimb.text import BriefRepr

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from autoimb.nn.network import Network

__all__ = [
    "FittedMemberPack",
    "FittedPipeline",
    "FittedStrategy",
    "fold_average",
    "member_posterior",
]

CHUNK_ROWS = 2048  # rows encoded at once: memory stays flat however long the table is
_PAD_ROWS = 16  # see `FittedMemberPack._logits`

Floats = NDArray[np.float64]
TableLike = pd.DataFrame | NDArray[Any] | pd.Series | Mapping[str, Any] | list[Mapping[str, Any]]
Dense = Callable[[int, bool], tuple[NDArray[np.float32], NDArray[np.int64]]]
# (fold, ple) -> dense columns (n, D) and embedded codes (n, Q)


def member_posterior(logits: NDArray[Any], *, log_prior: Floats, gamma: float) -> Floats:
    """Turn logits into each member's posterior under the real class distribution.

    In log space, for each of the k implicit members: softmax, then the closed-form inverse of the
    focal loss (Charoenphakdee et al., 2021), then the prior correction; then the mean over k.

    Parameters
    ----------
    logits : ndarray of shape (M, n, k, C)
        As `Network.predict` gives them.
    log_prior : float64 ndarray of shape (M, C)
        What to add to each member's log posterior: log of (real prior / prior in training).
    gamma : float
        Of the focal loss the members were trained with; 0 where it was another loss.

    Returns
    -------
    float64 ndarray of shape (M, n, C)
        Rows sum to 1.
    """
    if gamma > 0:
        proba = np.exp(correct_prior(logits, 0.0))
        logits = log_proba(focal_posterior(proba, gamma))
    # the priors broadcast over rows and implicit members: (M, C) -> (M, 1, 1, C)
    logp = correct_prior(logits, -log_prior[:, None, None, :])
    return np.asarray(np.exp(logp).mean(axis=2))


def fold_average(
    posteriors: Sequence[Floats], folds: Sequence[ArrayLike], weights: Sequence[ArrayLike]
) -> Floats:
    """Combine members within each fold by their weights, then average the folds equally.

    Parameters
    ----------
    posteriors : sequence of float64 ndarrays of shape (M, n, C)
        One a pack, from `member_posterior`.
    folds : sequence of array-likes of shape (M,)
        The fold of each member.
    weights : sequence of array-likes of shape (M,)
        Combination weights; normalised within a fold over all packs.

    Returns
    -------
    float64 ndarray of shape (n, C)
    """
    fold = np.concatenate([np.asarray(part) for part in folds])
    weight = np.concatenate([np.asarray(part, dtype=np.float64) for part in weights])
    share = np.zeros_like(weight)
    present = np.unique(fold)
    for one in present:
        mine = fold == one
        share[mine] = weight[mine] / (weight[mine].sum() * len(present))
    ends = np.cumsum([len(part) for part in posteriors])
    parts = zip(posteriors, np.split(share, ends[:-1]))
    return np.asarray(sum(np.tensordot(own, part, axes=1) for part, own in parts))


@dataclass(frozen=True, eq=False, repr=False)
class FittedMemberPack(BriefRepr):
    """Trained networks of one shape, whichever folds they belong to.

    Attributes
    ----------
    spec : NetworkSpec
        Their shape.
    fold : int64 ndarray of shape (M,)
        Which of the pipeline's encoders each member reads.
    weight : float64 ndarray of shape (M,)
        Combination weight within the fold.
    log_prior : float64 ndarray of shape (M, C)
        Prior correction, see `member_posterior`.
    focal_gamma : float
        Of the loss, 0 without focal loss.
    state : dict of str to float32 ndarray of shape (M, ...)
        What `Network.state` gave.
    """

    spec: NetworkSpec
    fold: NDArray[np.int64]
    weight: Floats
    log_prior: Floats
    focal_gamma: float
    state: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        members = len(self.fold)
        wanted = {
            "fold": (members,),
            "weight": (members,),
            "log_prior": (members, self.spec.n_classes),
        }
        for name, shape in wanted.items():
            if (got := getattr(self, name).shape) != shape:
                raise ArtifactError(f"A pack's {name!r} must have shape {shape}, got {got}.")

    def of_folds(self, folds: Container[int]) -> FittedMemberPack:
        """Return the networks of some folds alone."""
        own = np.array([fold in folds for fold in self.fold.tolist()], dtype=bool)
        return replace(
            self,
            fold=self.fold[own],
            weight=self.weight[own],
            log_prior=self.log_prior[own],
            state={name: values[own] for name, values in self.state.items()},
        )

    def predictor(self) -> Callable[[Dense], Floats]:
        """Build the networks, one a fold, to be used for many chunks of rows by one thread.

        Returns
        -------
        callable
            From the rows, as each fold's encoder gives them, to ``(M, n, C)`` posteriors.
        """
        from autoimb.nn.network import build  # torch, which a look at a file has no use for

        networks: list[tuple[NDArray[np.intp], Network]] = []
        for fold in np.unique(self.fold):
            members = np.flatnonzero(self.fold == fold)
            network = build(self.spec, len(members))
            network.load({name: values[members] for name, values in self.state.items()})
            networks.append((members, network))

        def posterior(dense: Dense) -> Floats:
            parts = []
            for members, network in networks:
                logits = self._logits(network, *dense(int(self.fold[members[0]]), self.spec.ple))
                prior = self.log_prior[members]
                parts.append(member_posterior(logits, log_prior=prior, gamma=self.focal_gamma))
            order = np.concatenate([members for members, _ in networks])
            return np.concatenate(parts)[np.argsort(order)]

        return posterior

    def _logits(
        self, network: Network, x: NDArray[np.float32], codes: NDArray[np.int64]
    ) -> NDArray[Any]:
        """Return ``(m, n, k, C)``; a row's logits don't depend on the rows beside it.

        Matrix products use other kernels, with other roundings, for a handful of rows: hence the
        padding of the rows. The columns are padded as in training, to the widest fold.
        """
        import torch

        n, rows = len(x), -(-len(x) // _PAD_ROWS) * _PAD_ROWS
        wide = torch.from_numpy(x)[None]
        if x.shape != (rows, self.spec.n_inputs):
            wide = torch.zeros(1, rows, self.spec.n_inputs)
            wide[0, :n, : x.shape[1]] = torch.from_numpy(x)
        levels = None
        if self.spec.cardinalities:
            levels = torch.zeros(1, rows, len(self.spec.cardinalities), dtype=torch.int64)
            levels[0, :n] = torch.from_numpy(codes)
        return network.predict(wide, levels)[:, :n].numpy()


@dataclass(frozen=True)
class _Rows:
    """Rows as the folds' models read them: typed columns, and what each encoder makes of them."""

    columns: Columns
    dense: Dense

    @classmethod
    def of(cls, columns: Columns, encoders: Sequence[Encoder]) -> _Rows:
        return cls(columns, _dense_rows(columns, encoders))


@dataclass(frozen=True, eq=False, repr=False)
class FittedStrategy(BriefRepr):
    """One strategy's members on all folds, or a partner's trees, with what follows them.

    Attributes
    ----------
    strategy : dict
        ``Strategy.to_json()``.
    description : str
        The strategy in words.
    packs : tuple of FittedMemberPack
        At least one; none of a partner.
    calibrator : Calibrator
        Fitted on out-of-fold probabilities.
    class_costs : tuple of float, of length C, or None
        Class weights that the user asked for: multiplied in at the end, not corrected away.
    rung : float
        How many times the planned work its training was; a refit does as much.
    confirmed : bool
        Whether that was on the folds that confirm; so it is in a refit.
    trees : tuple of FittedTrees
        Of a partner one a fold; else none.
    """

    strategy: dict[str, Any]
    description: str
    packs: tuple[FittedMemberPack, ...]
    calibrator: Calibrator
    class_costs: tuple[float, ...] | None = None
    rung: float = 1.0
    confirmed: bool = False
    trees: tuple[FittedTrees, ...] = ()

    @contextmanager
    def predictor(self) -> Iterator[Callable[[_Rows], Floats]]:
        """Lend what predicts, for one thread and many chunks of rows.

        Networks are built, and trees are prepared, where all predictors are lent: there are as many
        as threads have predicted at the same time. Pickles and copies of the strategy have none.

        Yields
        ------
        callable
            From rows to calibrated probabilities (n, C).
        """
        try:
            predict = self._idle.pop()
        except IndexError:
            predict = self._build_predictor()
        try:
            yield predict
        finally:
            self._idle.append(predict)

    @cached_property
    def _idle(self) -> list[Callable[[_Rows], Floats]]:
        """The predictors that no thread uses."""
        return []

    def _build_predictor(self) -> Callable[[_Rows], Floats]:
        """Build the networks of all packs, or prepare the trees.

        The callable does not refer to the strategy, which refers to it.
        """
        finished = partial(finish, calibrator=self.calibrator, class_costs=self.class_costs)
        if self.trees:
            of_folds = [fold.predictor() for fold in self.trees]
            return lambda rows: finished(
                np.mean([predict(rows.columns) for predict in of_folds], axis=0)
            )
        posteriors = [pack.predictor() for pack in self.packs]
        folds = [pack.fold for pack in self.packs]
        weights = [pack.weight for pack in self.packs]
        return lambda rows: finished(
            fold_average([posterior(rows.dense) for posterior in posteriors], folds, weights)
        )

    def part(self) -> StrategyPart:
        """Return the description of the strategy in a manifest, without its arrays."""
        return StrategyPart(
            strategy=self.strategy,
            description=self.description,
            packs=tuple(PackPart(pack.spec, pack.focal_gamma) for pack in self.packs),
            calibrator=self.calibrator,
            class_costs=self.class_costs,
            rung=self.rung,
            confirmed=self.confirmed,
            trees=tuple(TreesPart(fold.reader.numbers, fold.bagged) for fold in self.trees),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_idle"}


@dataclass(frozen=True, eq=False, repr=False)
class FittedPipeline:
    """Everything between a table and its labels; needs neither Optuna nor imbalanced-learn.

    It is only read, so threads may share it; networks are kept between calls. To scikit-learn's
    tools it is a fitted classifier.

    Attributes
    ----------
    schema : Schema
        The columns and their kinds.
    classes : ndarray of shape (C,)
        The original labels, sorted.
    positive : int
        Position of the positive class in ``classes``.
    encoders : tuple of Encoder
        One a fold.
    strategies : tuple of FittedStrategy
        One, or the members of a blend.
    weights : tuple of float
        The blend's, one a strategy.
    calibrator : Calibrator
        Of the mean of all networks, after averaging and blending.
    rule : DecisionRule
        What turns probabilities into labels.
    thresholds : ThresholdCounts
        Of the scored rows, for `with_threshold`; the pipeline holds no row.
    ranges : float64 ndarray of shape (2, p)
        The range of each number in the training table, rounded outwards; see `ranges_of`.
    info : dict
        Plain values, see `autoimb.pipeline.manifest.Info`.
    """

    schema: Schema
    classes: NDArray[Any]
    positive: int
    encoders: tuple[Encoder, ...]
    strategies: tuple[FittedStrategy, ...]
    weights: tuple[float, ...]
    calibrator: Calibrator
    rule: DecisionRule
    thresholds: ThresholdCounts
    ranges: Floats
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, in the order of `predict_proba`'s columns."""
        return self.classes

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the columns of the training table, the target left out."""
        return np.array([column.name for column in self.schema.columns], dtype=object)

    @property
    def n_features_in_(self) -> int:
        """Number of columns of the training table, the target left out."""
        return len(self.schema.columns)

    def predict_proba(self, X: TableLike) -> Floats:
        """Return the probability of each class.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, p), dict, Series or list of dicts
            The columns of the training table, in any order, others ignored; an array is taken by
            position. A dict or a Series, with the names of columns, is one row.

        Returns
        -------
        float64 ndarray of shape (n, C)
            In the order of ``classes_``; rows sum to 1.

        Raises
        ------
        SchemaError
            Where a column is missing or of another kind.
        """
        return self.proba_of(parse(X, self.schema))

    def proba_of(self, columns: Columns) -> Floats:
        """Return the probability of each class, (n, C), of rows that were parsed."""
        return self.calibrator.apply(self.blended(columns))

    def blended(self, columns: Columns) -> Floats:
        """Return the mean of the strategies' probabilities, (n, C), not yet calibrated."""
        parts = []
        with ExitStack() as lent:
            predictors = [lent.enter_context(each.predictor()) for each in self.strategies]
            for start in range(0, max(columns.n_rows, 1), CHUNK_ROWS):
                chunk = np.arange(start, min(start + CHUNK_ROWS, columns.n_rows))
                rows = _Rows.of(columns.take(chunk), self.encoders)
                parts.append(sum(w * predict(rows) for w, predict in zip(self.weights, predictors)))
        return np.concatenate(parts)

    def predict(self, X: TableLike) -> NDArray[Any]:
        """Return the label that the decision rule gives each row.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, p), dict, Series or list of dicts
            As in `predict_proba`.

        Returns
        -------
        ndarray of shape (n,)
            Labels out of ``classes_``.
        """
        return np.asarray(self.classes[self.rule.apply(self.predict_proba(X))])

    def with_threshold(self, threshold: str | float) -> FittedPipeline:
        """Return the same pipeline with another decision rule.

        Parameters
        ----------
        threshold : str or float
            ``"recall>=0.8"`` or ``"precision>=0.5"``, met on the out-of-fold probabilities of the
            training rows by one of up to 1,000 thresholds between them; or the probability of the
            positive class from which a row is positive.

        Returns
        -------
        FittedPipeline

        Raises
        ------
        InputError
            Where the expression can't be read or met.
        """
        return replace(self, rule=threshold_for(threshold, self.thresholds, self.positive))

    @property
    def cost_matrix(self) -> Matrix | None:
        """Cost of each (true, predicted) pair of classes that the rule minimises, or None.

        A rule that only carries class weights on has no such costs.
        """
        weighed = any(strategy.class_costs is not None for strategy in self.strategies)
        return None if weighed else self.rule.costs

    def manifest(self, info: Mapping[str, Any]) -> Manifest:
        """Return the description of the pipeline in a file, with these facts about the search."""
        return Manifest(
            format=FORMAT,
            info=cast(Info, info),
            schema=self.schema,
            classes=LabelPart(self.classes.dtype.str, plain_labels(self.classes)),
            positive=self.positive,
            encoders=tuple(encoder.layout for encoder in self.encoders),
            strategies=tuple(strategy.part() for strategy in self.strategies),
            weights=self.weights,
            calibrator=self.calibrator,
            rule=self.rule,
        )

    def inspect(self) -> dict[str, Any]:
        """Return what `autoimb.pipeline.artifact.inspect` says of its file, but for the bytes."""
        return summarise(self.manifest(self.info))

    def describe(self) -> str:
        """Say in a few lines what predicts what, and how."""
        return in_words(self.inspect())

    def __repr__(self) -> str:
        return in_a_line(self.inspect())

    def to_html(self) -> str:
        """Return a table of score, 95 % interval, verdict and decision rule, for a notebook."""
        return in_a_table(self.inspect())

    def _repr_html_(self) -> str:
        return self.to_html()

    # --- the protocol of scikit-learn, which is imported where its tools ask, not to predict ------

    def fit(self, X: object, y: object = None, sample_weight: object = None) -> NoReturn:
        """Refuse: a pipeline is fitted.

        Raises
        ------
        InputError
            Always; it says what to fit instead.
        """
        del X, y, sample_weight
        raise InputError(
            "A FittedPipeline is fitted already and can't be fitted again: wrap it in "
            "sklearn.frozen.FrozenEstimator where a tool fits what it is given, train its "
            "strategies on newer rows by `autoimb refit`, or search anew by AutoImbClassifier."
        )

    def score(
        self,
        X: pd.DataFrame | NDArray[Any],
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        metric: str | Callable[..., Any] | None = None,
    ) -> float:
        """Return a metric of rows, in scikit-learn's sign: higher is better.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, p)
            As in `predict_proba`.
        y : array-like of shape (n,)
            Labels out of ``classes_``.
        sample_weight : array-like of shape (n,) or None
            Importance of each row.
        metric : str, callable or None
            As `AutoImbClassifier` takes it; None is the metric of the search.

        Returns
        -------
        float
            The metric, or minus it where less is better (``log_loss``, ``brier``).

        Raises
        ------
        OptionError
            Where the metric of the search was a function or a scorer object: no file holds it.
        """
        asked = self.info.get("metric", "average_precision") if metric is None else metric
        try:
            found = get_metric(
                asked,
                n_classes=len(self.classes),
                positive=self.positive,
                classes=self.classes,
                costs=self.cost_matrix,
            )
        except OptionError as error:
            if metric is not None or asked == EXPECTED_COST:
                raise
            raise OptionError(
                f"The pipeline was searched by the metric {asked!r}, a function or scorer that it "
                "does not hold: give it as metric=."
            ) from error
        proba = self.predict_proba(X)
        codes = match_labels(y, self.classes)
        check_lengths(proba, codes)
        weight = row_weights(sample_weight, len(codes))
        value = found(codes, proba, self.rule.apply(proba), weight=weight)
        return float(found.utility(value))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return no parameters: nothing of a fitted pipeline is set from outside."""
        del deep
        return {}

    def set_params(self, **params: object) -> Self:
        """Take no parameters.

        Raises
        ------
        OptionError
            Where any is given.
        """
        if params:
            raise OptionError(
                f"A FittedPipeline has no parameters to set; got {', '.join(sorted(params))}."
            )
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        return self  # it never changes

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(allow_nan=True, string=True, categorical=True),
        )


def _dense_rows(columns: Columns, encoders: Sequence[Encoder]) -> Dense:
    """Encode rows once for each fold, and once more for each way numbers enter a network."""
    encoded: dict[int, Encoded] = {}
    held: dict[tuple[int, bool], tuple[NDArray[np.float32], NDArray[np.int64]]] = {}

    def dense(fold: int, ple: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if fold not in encoded:
            encoded[fold] = encoders[fold].transform(columns)
        if (fold, ple) not in held:
            held[fold, ple] = encoders[fold].dense(encoded[fold], ple=ple)
        return held[fold, ple]

    return dense
