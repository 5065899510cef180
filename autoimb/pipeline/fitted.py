"""Fitted pipelines, which predict probabilities and labels for the user's tables.

Law 4: `member_posterior` corrects every member's logits to the real class distribution before
`fold_average` averages the members. The search computes its out-of-fold probabilities by the same
two functions as prediction.
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
from autoimb.assessment.decision import DecisionRule, ThresholdCounts, threshold_for
from autoimb.assessment.metrics import EXPECTED_COST, get_metric
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.rows import Encoded
from autoimb.data.schema import Columns, Schema, parse
from autoimb.data.table import check_lengths, row_weights
from autoimb.data.target import match_labels
from autoimb.errors import ArtifactError, InputError, OptionError
from autoimb.nn.spec import NetworkSpec
from autoimb.partners.reader import Reader
from autoimb.partners.trees import FittedTrees
from autoimb.pipeline.manifest import (
    FORMAT,
    Info,
    LabelPart,
    Manifest,
    PackPart,
    StrategyPart,
    TreesPart,
)
from autoimb.pipeline.summary import in_a_line, in_a_table, in_words, plain_labels, summarise
from autoimb.text import BriefRepr

if TYPE_CHECKING:
    from sklearn.utils import Tags


__all__ = [
    "FittedMemberPack",
    "FittedPipeline",
    "FittedStrategy",
    "fold_average",
    "member_posterior",
]

# Rows encoded at a time, and logits of a pack's networks, which bound the memory for long tables.
CHUNK_ROWS = 2048
_CHUNK_LOGITS = 2**22
_PAD_ROWS = 16  # see `inputs_of`

Floats = NDArray[np.float64]
TableLike = pd.DataFrame | NDArray[Any] | pd.Series | Mapping[str, Any] | list[Mapping[str, Any]]
Inputs = tuple[NDArray[np.float32], NDArray[np.int64]]  # dense columns and codes of embeddings


def member_posterior(logits: NDArray[Any], *, log_prior: Floats, gamma: float) -> Floats:
    """Return each member's posterior under the real class distribution from its logits.

    For each of the k implicit members, it computes the softmax, the closed-form inverse of the
    focal loss (Charoenphakdee et al., 2021) and the prior correction, in log space; then it returns
    the mean over the k.

    Parameters
    ----------
    logits : ndarray of shape (M, n, k, C)
        As returned by `Network.predict`.
    log_prior : float64 ndarray of shape (M, C)
        Logarithm of (real prior / prior in training), which is added to the log posterior.
    gamma : float
        Parameter of the focal loss of the training; 0 for another loss.

    Returns
    -------
    float64 ndarray of shape (M, n, C)
        Rows sum to 1.
    """
    if gamma > 0:
        proba = np.exp(correct_prior(logits, 0.0))
        logits = log_proba(focal_posterior(proba, gamma))
    # The priors are broadcast over rows and implicit members: (M, C) -> (M, 1, 1, C).
    logp = correct_prior(logits, -log_prior[:, None, None, :])
    return np.asarray(np.exp(logp).mean(axis=2))


def fold_average(
    posteriors: Sequence[Floats], folds: Sequence[ArrayLike], weights: Sequence[ArrayLike]
) -> Floats:
    """Combine members within each fold by their weights, then average the folds equally.

    Parameters
    ----------
    posteriors : sequence of float64 ndarrays of shape (M, n, C)
        One per pack, from `member_posterior`.
    folds : sequence of array-likes of shape (M,)
        The fold of each member.
    weights : sequence of array-likes of shape (M,)
        Combination weights; they are normalised within a fold over all packs.

    Returns
    -------
    float64 ndarray of shape (n, C)
    """
    return fold_averaging(folds, weights)(posteriors)


def fold_averaging(
    folds: Sequence[ArrayLike], weights: Sequence[ArrayLike]
) -> Callable[[Sequence[Floats]], Floats]:
    """Prepare `fold_average` for many chunks of rows."""
    fold = np.concatenate([np.asarray(part) for part in folds])
    weight = np.concatenate([np.asarray(part, dtype=np.float64) for part in weights])
    # Weights sum to 1 within each fold, and folds count equally.
    share = np.zeros_like(weight)
    present = np.unique(fold)
    for number in present:
        in_fold = fold == number
        share[in_fold] = weight[in_fold] / (weight[in_fold].sum() * len(present))
    shares = np.split(share, np.cumsum([len(np.asarray(part)) for part in folds])[:-1])

    def average(posteriors: Sequence[Floats]) -> Floats:
        parts = zip(shares, posteriors)
        return np.asarray(sum(np.tensordot(weights, part, axes=1) for weights, part in parts))

    return average


@dataclass(frozen=True, eq=False, repr=False)
class FittedMemberPack(BriefRepr):
    """Trained networks of one shape, of one or several folds.

    Attributes
    ----------
    spec : NetworkSpec
        Shape of each network.
    fold : int64 ndarray of shape (M,)
        Position of each member's encoder among those of the pipeline.
    weight : float64 ndarray of shape (M,)
        Combination weight within the fold.
    log_prior : float64 ndarray of shape (M, C)
        Prior corrections, see `member_posterior`.
    focal_gamma : float
        Parameter of the focal loss; 0 for another loss.
    state : dict of str to float32 ndarray of shape (M, ...)
        Parameters, as returned by `Network.state`.
    """

    spec: NetworkSpec
    fold: NDArray[np.int64]
    weight: Floats
    log_prior: Floats
    focal_gamma: float
    state: Mapping[str, NDArray[Any]]

    def of_folds(self, folds: Container[int]) -> FittedMemberPack:
        """Return the pack without the networks of other folds."""
        selected = np.array([fold in folds for fold in self.fold.tolist()], dtype=bool)
        return replace(
            self,
            fold=self.fold[selected],
            weight=self.weight[selected],
            log_prior=self.log_prior[selected],
            state={name: values[selected] for name, values in self.state.items()},
        )

    def predictor(self) -> Callable[[Inputs], Floats]:
        """Build the networks, for one thread and many chunks of rows.

        Returns
        -------
        callable
            Maps the inputs of the pack's folds, as `inputs_of` returns them, to posteriors
            ``(M, n, C)``.
        """
        import torch  # which `inspect` does not need

        from autoimb.nn.network import build

        network = build(self.spec, len(self.fold))
        network.load(self.state)
        network.freeze()
        source = torch.from_numpy(np.unique(self.fold, return_inverse=True)[1])

        def posterior(inputs: Inputs) -> Floats:
            x, codes = map(torch.from_numpy, inputs)
            levels = codes if self.spec.cardinalities else None
            logits = network.predict(x, levels, source=source).numpy()
            return member_posterior(logits, log_prior=self.log_prior, gamma=self.focal_gamma)

        return posterior


def inputs_of(parts: Sequence[Inputs], n_inputs: int) -> Inputs:
    """Join the rows as several encoders write them to the inputs of networks.

    The rows are padded because matrix products of few rows use other kernels, with other rounding:
    the logits of a row do not depend on the other rows. The columns are padded as in training, to
    the widest fold.

    Parameters
    ----------
    parts : sequence of F pairs of ndarrays
        Dense columns (n, D) and codes (n, Q) of each fold.
    n_inputs : int
        Number of dense columns of the networks.

    Returns
    -------
    pair of ndarrays
        Float32 of shape (F, n', n_inputs), where n' is n or up to 15 more, and int64 (F, n', Q).
    """
    n, n_levels = parts[0][1].shape
    rows = -(-n // _PAD_ROWS) * _PAD_ROWS
    x = np.zeros((len(parts), rows, n_inputs), dtype=np.float32)
    codes = np.zeros((len(parts), rows, n_levels), dtype=np.int64)
    for fold, (dense, levels) in enumerate(parts):
        x[fold, :n, : dense.shape[1]] = dense
        codes[fold, :n] = levels
    return x, codes


class _Rows:
    """Rows as the models of the folds read them; each way of reading is computed once."""

    def __init__(self, columns: Columns, encoders: Sequence[Encoder]) -> None:
        self.columns = columns
        self._encoders = encoders
        self._encoded: dict[int, Encoded] = {}
        self._inputs: dict[tuple[bytes, bool, int], Inputs] = {}
        self._read: dict[bytes, tuple[Floats, NDArray[np.int64]]] = {}

    def inputs(self, fold: NDArray[np.int64], spec: NetworkSpec) -> Inputs:
        """Encode the rows for networks of some folds; see `inputs_of`."""
        folds = np.unique(fold)
        key = folds.tobytes(), spec.ple, spec.n_inputs
        if key not in self._inputs:
            parts = [self._dense(number, ple=spec.ple) for number in folds.tolist()]
            self._inputs[key] = inputs_of(parts, spec.n_inputs)
        return self._inputs[key]

    def _dense(self, fold: int, *, ple: bool) -> Inputs:
        if fold not in self._encoded:
            self._encoded[fold] = self._encoders[fold].transform(self.columns)
        return self._encoders[fold].dense(self._encoded[fold], ple=ple)

    def read(self, reader: Reader) -> tuple[Floats, NDArray[np.int64]]:
        """Read the rows for trees; the trees of a fold have equal readers."""
        if reader.digest not in self._read:
            self._read[reader.digest] = reader.read(self.columns)
        return self._read[reader.digest]


@dataclass(frozen=True, eq=False, repr=False)
class FittedStrategy(BriefRepr):
    """Fitted members of one strategy on all folds, or trees of a partner, and their calibration.

    Attributes
    ----------
    strategy : dict
        ``Strategy.to_json()``.
    description : str
        One-line description of the strategy.
    packs : tuple of FittedMemberPack
        At least one; empty for a partner.
    calibrator : Calibrator
        Fitted on out-of-fold probabilities.
    class_costs : tuple of float, of length C, or None
        Class weights given by the user: they multiply the probabilities and are not corrected.
    trees : tuple of FittedTrees
        One per fold for a partner; else empty.
    """

    strategy: dict[str, Any]
    description: str
    packs: tuple[FittedMemberPack, ...]
    calibrator: Calibrator
    class_costs: tuple[float, ...] | None = None
    trees: tuple[FittedTrees, ...] = ()

    @contextmanager
    def predictor(self) -> Iterator[Callable[[_Rows], Floats]]:
        """Lend a predictor, for one thread and many chunks of rows.

        A new one is built if all others are in use, so there are as many predictors as threads have
        predicted at the same time. Pickles and copies of the strategy have no predictors.

        Yields
        ------
        callable
            Maps rows to calibrated probabilities (n, C).
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
        """Predictors that no thread uses at present."""
        return []

    def _build_predictor(self) -> Callable[[_Rows], Floats]:
        """Build the networks of all packs, or prepare the trees.

        The callable holds no reference to the strategy, which would make a cycle.
        """
        finished = partial(finish, calibrator=self.calibrator, class_costs=self.class_costs)
        if self.trees:
            of_folds = [(fold.reader, fold.predictor()) for fold in self.trees]
            return lambda rows: finished(
                np.mean([predict(*rows.read(reader)) for reader, predict in of_folds], axis=0)
            )
        packs = [(pack.fold, pack.spec, pack.predictor()) for pack in self.packs]
        average = fold_averaging([pack.fold for pack in self.packs], [p.weight for p in self.packs])

        def proba(rows: _Rows) -> Floats:
            posteriors = [predict(rows.inputs(fold, spec)) for fold, spec, predict in packs]
            # Rows were padded.
            return finished(average(posteriors)[: rows.columns.n_rows])

        return proba

    def part(self) -> StrategyPart:
        """Return the description of the strategy in a manifest, without its arrays."""
        packs = tuple(PackPart(pack.spec, pack.focal_gamma) for pack in self.packs)
        trees = tuple(TreesPart(fold.reader.numbers, fold.bagged) for fold in self.trees)
        return StrategyPart(**self.__getstate__() | {"packs": packs, "trees": trees})

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_idle"}


@dataclass(frozen=True, eq=False, repr=False)
class FittedPipeline:
    """Fitted pipeline from tables to labels; it needs neither Optuna nor imbalanced-learn.

    It is immutable, so threads may share it; networks are reused between calls. For the tools of
    scikit-learn it is a fitted classifier.

    Attributes
    ----------
    schema : Schema
        Names and kinds of the columns.
    classes : ndarray of shape (C,)
        Original labels, sorted.
    positive : int
        Position of the positive class in ``classes``.
    encoders : tuple of Encoder
        One per fold.
    strategies : tuple of FittedStrategy
        One, or the members of a blend.
    weights : tuple of float
        Weights in the blend, one per strategy.
    calibrator : Calibrator
        Calibration of the blended probabilities.
    rule : DecisionRule
        Turns probabilities into labels.
    thresholds : ThresholdCounts
        Counts of the scored rows, for `with_threshold`; the pipeline holds no row.
    ranges : float64 ndarray of shape (2, p)
        Range of each number in the training table, rounded outwards; see `ranges_of`.
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
        """Labels in the order of the columns of `predict_proba`."""
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
            The columns of the training table, in any order; other columns are ignored. The columns
            of an array are taken by position. A dict or a Series with column names is one row.

        Returns
        -------
        float64 ndarray of shape (n, C)
            In the order of ``classes_``; rows sum to 1.

        Raises
        ------
        SchemaError
            If a column is missing or of another kind.
        """
        return self.proba_of(parse(X, self.schema))

    def proba_of(self, columns: Columns) -> Floats:
        """Return the probability of each class, (n, C), for parsed rows."""
        proba = self.calibrator.apply(self.blended(columns))
        # The checks of a file do not compute what its networks give.
        if not np.isfinite(proba).all():
            raise ArtifactError("The pipeline's probabilities aren't finite: its file is forged.")
        return proba

    def blended(self, columns: Columns) -> Floats:
        """Return the weighted mean of the strategies' probabilities, (n, C), before calibration."""
        parts = []
        with ExitStack() as stack:
            predictors = [stack.enter_context(fitted.predictor()) for fitted in self.strategies]
            packs = (pack for fitted in self.strategies for pack in fitted.packs)
            logits = max((pack.log_prior.size * pack.spec.k for pack in packs), default=1)
            n_rows = min(CHUNK_ROWS, max(_CHUNK_LOGITS // logits, _PAD_ROWS))
            for start in range(0, max(columns.n_rows, 1), n_rows):
                chunk = np.arange(start, min(start + n_rows, columns.n_rows))
                rows = _Rows(columns.take(chunk), self.encoders)
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
        """Return a copy of the pipeline with another decision rule.

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
            If the expression can't be read or met.
        """
        return replace(self, rule=threshold_for(threshold, self.thresholds, self.positive))

    @property
    def cost_matrix(self) -> Matrix | None:
        """Cost of each (true, predicted) pair of classes that the rule minimises, or None.

        It is None if the rule only applies class weights.
        """
        weighed = any(strategy.class_costs is not None for strategy in self.strategies)
        return None if weighed else self.rule.costs

    def manifest(self, info: Mapping[str, Any]) -> Manifest:
        """Return the manifest of the pipeline, with ``info`` about the search."""
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
        """Return the values of `autoimb.pipeline.artifact.inspect`, except ``bytes``."""
        return summarise(self.manifest(self.info))

    def describe(self) -> str:
        """Describe classes, strategies, decision rule and score in a few lines."""
        return in_words(self.inspect())

    def __repr__(self) -> str:
        return in_a_line(self.inspect())

    def to_html(self) -> str:
        """Return a table of score, 95 % interval, verdict and decision rule, for a notebook."""
        return in_a_table(self.inspect())

    def _repr_html_(self) -> str:
        return self.to_html()

    # --- protocol of scikit-learn, which is imported only for its tools, not for prediction -------

    def fit(self, X: object, y: object = None, sample_weight: object = None) -> NoReturn:
        """Raise an error, as the pipeline is fitted already.

        Raises
        ------
        InputError
            Always; the message names the alternatives.
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
        """Return a metric on rows, in scikit-learn's sign: higher is better.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, p)
            As in `predict_proba`.
        y : array-like of shape (n,)
            Labels out of ``classes_``.
        sample_weight : array-like of shape (n,) or None
            Importance of each row.
        metric : str, callable or None
            As for `AutoImbClassifier`; None is the metric of the search.

        Returns
        -------
        float
            The metric, negated if lower is better (``log_loss``, ``brier``).

        Raises
        ------
        OptionError
            If the metric of the search was a function or a scorer object, which no file holds.
        """
        objective = self.info.get("metric", "average_precision") if metric is None else metric
        try:
            resolved = get_metric(
                objective,
                n_classes=len(self.classes),
                positive=self.positive,
                classes=self.classes,
                costs=self.cost_matrix,
            )
        except OptionError as error:
            if metric is not None or objective == EXPECTED_COST:
                raise
            raise OptionError(
                f"The pipeline was searched by the metric {objective!r}, a function or scorer that "
                "it does not hold: give it as metric=."
            ) from error
        proba = self.predict_proba(X)
        codes = match_labels(y, self.classes)
        check_lengths(proba, codes)
        weight = row_weights(sample_weight, len(codes))
        value = resolved(codes, proba, self.rule.apply(proba), weight=weight)
        return float(resolved.utility(value))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return an empty dict: a fitted pipeline has no parameters."""
        del deep
        return {}

    def set_params(self, **params: object) -> Self:
        """Return the pipeline unchanged, as it has no parameters.

        Raises
        ------
        OptionError
            If a parameter is given.
        """
        if params:
            raise OptionError(
                f"A FittedPipeline has no parameters to set; got {', '.join(sorted(params))}."
            )
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        return self  # immutable

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(allow_nan=True, string=True, categorical=True),
        )
