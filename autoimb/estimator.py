"""Estimator of scikit-learn's interface, which searches for a strategy and fits it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from autoimb.budget import Budget
from autoimb.data.groups import column_names
from autoimb.data.input_frames import named_frame
from autoimb.files import write_file
from autoimb.pipeline.artifact import save
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.report.build import render
from autoimb.report.facts import METHOD_COLUMNS, build_facts
from autoimb.runtime.dask import backend_for
from autoimb.search.arguments import prepare_arguments
from autoimb.search.search import Callback, search

__all__ = ["AutoImbClassifier"]

Names = str | Sequence[str] | None


class AutoImbClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """Classifier that finds the best strategy for an imbalanced table and fits it.

    A strategy is a resampling method, class weights, a loss, an ensemble and a neural network: one
    search space, searched by out-of-fold score.

    Parameters
    ----------
    metric : str or callable, default="average_precision"
        Metric to optimize. A name of autoimb (``"pr_auc"``, ``"auc"``, ... are aliases;
        ``"expected_cost"`` is the mean cost of a row by `cost_matrix`), a scikit-learn scorer or
        its name, or ``callable(y_true, probabilities)``. A scorer that is named judges the positive
        one of two classes; scorers and callables get the labels of `y` as they are, and
        probabilities with columns in the order of ``classes_``.
    time_budget : float or None, default=300
        Wall-clock time for the whole search, in seconds. Everything that `fit` does counts.
    n_trials : int or None, default=None
        Number of strategies to try. With ``time_budget=None`` and one job the same seed gives the
        same result.
    resampling : str, imbalanced-learn sampler, list of them or None, default=None
        Restrict resampling to these options, or to samplers of imbalanced-learn by class name.
        Instances of samplers are accepted too; all of them run on the encoded training rows of a
        fold with the parameters they have. ``autoimb options`` prints the options.
    loss, ensemble, network : str, list of str or None, default=None
        Restrict the component to these options.
    class_weight : str, list of str, dict or "balanced", default=None
        Restrict class weights to these options, or give the costs of errors on each class. Costs
        are a dict of class to weight, or ``"balanced"``; loss, decision rule and probabilities
        follow them.
    cost_matrix : array-like of shape (C, C) or None, default=None
        Costs by true × predicted class, in the order of the sorted classes; labels cost least, and
        probabilities stay as they are.
    cost_in_loss : bool, default=False
        Weigh the loss by `cost_matrix` as well. The probabilities are corrected for it.
    strategy : Strategy, dict, str or row of a leaderboard, default=None
        Evaluate this strategy alone, without a search. It is one trial with no partner:
        ``best_strategy_``, its JSON, or one row of `leaderboard` or ``leaderboard.csv``.
    partners : "auto", str, list of str or None, default="auto"
        Tree models that may share the blend. They are ``"small_trees"``, ``"medium_trees"``,
        ``"large_trees"``, ``"forest"`` and ``"deep_extra_trees"``. ``"auto"`` uses all of them
        (``"forest"`` only below 15,000 rows); ``None`` disables trees.
    min_samples_leaf : int, default=1
        Minimum number of training rows in a leaf of a tree model. With 1 a leaf of a deep tree may
        describe a single row; boosted trees have at least 3 in any case.
    blend : {"small", "accurate"}, default="small"
        "small" exports the fastest part of the best blend that is as good on rows that did not
        weigh it, or with few rare rows a part of at most five networks. "accurate" exports the best
        blend.
    cv : int, splitter, iterable of (train, test) or None, default=None
        Folds; by default planned from the counts of rows and of minority rows.
    pos_label : object, default=None
        Positive class; by default the rarest.
    allow_many_classes : bool, default=False
        Accept a target of more than 20 numbers, which looks like that of a regression.
    kinds : dict of str to str or None, default=None
        Kind of a column, in place of the detected one. For example ``{"zip": "categorical"}``.
    holdout : float or None, default=None
        Share of the rows to hold out as `test`, before anything looks at the table. It is taken of
        each class; with `groups` in whole groups, with `time` from the latest rows.
    max_predict_seconds : float or None, default=None
        Maximum time to predict a thousand rows on one thread, in seconds as they are counted.
    max_artifact_mb : float or None, default=None
        Maximum size of the exported file, in megabytes.
    n_jobs : int or None, default=None
        Number of workers; -1 uses all cores. None is 1, and on a cluster all threads. On Linux each
        worker has an equal share of the memory that is free when the search begins; a trial that
        takes more fails.
    schedule : {"asynchronous", "synchronous"}, default="asynchronous"
        "synchronous" starts `n_jobs` trials together and waits until all have ended, so that the
        same `random_state`, `n_trials` and `n_jobs` give the same result. It needs
        ``time_budget=None``.
    backend : {"local", "dask"}, default="local"
        Where trials run: "local" on this machine, "dask" on a cluster. The cluster is that of the
        current ``distributed.Client``.
    random_state : int, RandomState or None, default=None
        Seed of all random choices.
    callbacks : list of callable or None, default=None
        Each is called with an `Event` when a trial has ended: its record, that of the best one,
        and counts. ``KeyboardInterrupt`` in it ends the search early; so does any other error,
        which comes out of `fit` when what had finished is fitted.
    verbose : int, default=0
        0 is silent; 1 shows the progress on stderr.

    Attributes
    ----------
    best_strategy_, best_params_ : Strategy, dict
        Best single strategy, and the same as plain JSON.
    best_score_ : float
        Out-of-fold score of `pipeline_`, which may be a blend, corrected for the optimism of the
        choice; in scikit-learn's sign: higher is better.
    score_interval_ : tuple of two floats
        95 % interval of `best_score_`, the lower end first, in the same sign.
    pipeline_ : FittedPipeline
        Exported pipeline: encoders, networks (a blend if that is better), decision rule.
    records_ : tuple of TrialRecord
        Records of all strategies and partners.
    methods_ : DataFrame
        One row per imbalance method: verdict of the paired comparisons on this table
        (``"helps"``, ...), gain and 95 % interval in `metric` and log-loss, p value after Holm, and
        a sentence.
    oof_ : DataFrame
        Out-of-fold predictions of the result, one row for each row of `X` and then of `eval_set`:
        ``row`` (its position), ``fold``, ``proba_<label>`` for each class and the predicted
        ``label``. Missing where a row was not scored. Their score is ``facts_.reported["raw"]``,
        from which `best_score_` takes the optimism of the choice.
    facts_ : Facts
        Contents of the report, as JSON values.
    test_score_ : float or None
        Score of `pipeline_` on the rows of `test` or `holdout`, signed like `best_score_`.
    checks_ : tuple of Finding
        Possible problems, with code, severity, evidence and advice (see ``autoimb checks``).
    classes_ : ndarray of shape (C,)
        Sorted labels.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Number of features; their names, if `X` has names.
    columns_apart_ : tuple of str
        Columns of `fit` that rows to predict may lack: those of ``groups=`` and ``time=``.

    Notes
    -----
    Rows of weight 0 are dropped before anything else. Prediction follows scikit-learn: columns
    must be those of `fit`, in the same order; ``pipeline_`` takes any order and ignores extra ones.
    A category that training never saw is treated as "other".
    """

    def __init__(  # noqa: PLR0913 - a scikit-learn constructor lists its parameters
        self,
        metric: str | Callable[..., Any] = "average_precision",
        time_budget: float | None = 300,
        n_trials: int | None = None,
        *,
        resampling: Any = None,
        class_weight: object = None,
        cost_matrix: ArrayLike | None = None,
        cost_in_loss: bool = False,
        loss: Names = None,
        ensemble: Names = None,
        network: Names = None,
        strategy: object = None,
        partners: Names = "auto",
        min_samples_leaf: int = 1,
        blend: str = "small",
        cv: object = None,
        pos_label: object = None,
        allow_many_classes: bool = False,
        kinds: Mapping[str, str] | None = None,
        holdout: float | None = None,
        max_predict_seconds: float | None = None,
        max_artifact_mb: float | None = None,
        n_jobs: int | None = None,
        schedule: str = "asynchronous",
        backend: str = "local",
        random_state: int | np.random.RandomState | None = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
    ) -> None:
        self.metric = metric
        self.time_budget = time_budget
        self.n_trials = n_trials
        self.resampling = resampling
        self.class_weight = class_weight
        self.cost_matrix = cost_matrix
        self.cost_in_loss = cost_in_loss
        self.loss = loss
        self.ensemble = ensemble
        self.network = network
        self.strategy = strategy
        self.partners = partners
        self.min_samples_leaf = min_samples_leaf
        self.blend = blend
        self.cv = cv
        self.pos_label = pos_label
        self.allow_many_classes = allow_many_classes
        self.kinds = kinds
        self.holdout = holdout
        self.max_predict_seconds = max_predict_seconds
        self.max_artifact_mb = max_artifact_mb
        self.n_jobs = n_jobs
        self.schedule = schedule
        self.backend = backend
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose

    def fit(  # noqa: PLR0913 - what a table can come with
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        eval_set: tuple[Any, Any] | None = None,
        test: tuple[Any, Any] | None = None,
        class_counts: Mapping[Any, int] | None = None,
        groups: Any = None,
        time: Any = None,
        gap: Any = None,
        keep_time: bool = False,
    ) -> AutoImbClassifier:
        """Search, and fit the winner.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, p)
            Numbers, strings, categories, dates and missing values as they are; a table of polars
            or pyarrow as well.
        y : array-like of shape (n,)
            The labels: text, booleans, whole numbers or categories. `predict` gives them back.
        sample_weight : array-like of shape (n,) or None
            Importance of each row, or the cost of an error on it. It weighs the loss, calibration,
            decision rule and score, so that labels follow it as well.
        eval_set : (X, y) or None
            Rows to choose and to score on, instead of cross-validation. They are never trained on,
            but they choose the strategy and its blend: they are no test.
        test : (X, y) or None
            Rows that nothing sees but the last line of the report.
        class_counts : mapping of label to int or None
            Counts of the whole table, of which rows were drawn class by class (`autoimb.read`).
        groups : str, list of str, array-like of shape (n,) or None
            Rows that belong together, such as those of one customer: no network trains on a group
            that it scores. They are columns of `X` by name, or the group of each row. Errors and
            intervals are those of drawing whole groups, so that the score is one on new groups. The
            columns are no features; `predict` takes rows with or without them.
        time : str, list of str, array-like of shape (n,) or None
            When each row was observed: no network trains on a row that is as late as one that it
            scores. Columns of `X` by name, or dates or numbers. The score is one on later rows, and
            later rows count more in training. What is exported is trained through the newest rows,
            and its probabilities are at the rate that the blocks of time so far let expect. The
            columns are no features, but for the parts of a date that recur (its weekday); `predict`
            takes rows with or without them.
        gap : number, str, timedelta or None
            Minimum distance in time between training rows and the rows that they score: days, 30d
            or 12h between dates, a number between numbers. It is for labels that are known late.
        keep_time : bool, default=False
            Keep the columns of `time` as features, and of all dates the parts that count time.

        Returns
        -------
        AutoImbClassifier
            The fitted classifier; after an interruption, with the completed trials and a warning.

        Raises
        ------
        InputError
            If no search can use the table, the target or a parameter.
        RunError
            If no trial could be completed; the message lists the reasons.
        Exception
            An exception of a callback.
        """
        started = monotonic()
        rows = X, y, sample_weight, eval_set, test, class_counts, groups, time, gap, keep_time
        self.columns_apart_ = column_names(groups) + column_names(time)
        with backend_for(self.backend) as backend:
            preparation = prepare_arguments(self, *rows, backend=backend)
            budget = Budget.start(preparation.request.time_budget, started=started)
            callbacks = self.callbacks or ()
            result = search(preparation, budget=budget, callbacks=callbacks, backend=backend)
            # The reference models are fitted here, as a cluster may be lost.
            self.facts_ = build_facts(result, deadline=budget.deadline)
        self.checks_ = self.facts_.findings
        if result.interrupted and result.error is None:
            message = f"interrupted by {result.interrupted}: fitted with what had finished"
            warnings.warn(message, stacklevel=2)
        self.records_ = result.records
        self.methods_ = pd.DataFrame(self.facts_.methods, columns=METHOD_COLUMNS)
        self.pipeline_ = result.pipeline
        self.classes_ = result.pipeline.classes_
        self.best_strategy_ = result.best_strategy
        self.best_params_ = result.best_strategy.to_json()
        self.best_score_ = result.selection.reported.utility
        self.score_interval_ = result.selection.reported.interval
        self.test_score_ = result.tested and result.tested.score.utility
        self.oof_ = result.out_of_fold()
        if result.error is not None:
            raise result.error
        return self

    def _frame(self, X: pd.DataFrame | ArrayLike) -> pd.DataFrame:
        """Return rows as a frame with the columns of `fit`; `columns_apart_` may be missing."""
        apart = getattr(self, "columns_apart_", ())
        return named_frame(self, X, reset=False, apart=apart)

    def predict_proba(self, X: pd.DataFrame | ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, p), dict, Series or list of dicts
            The columns of `fit`. A dict or a Series, with the names of columns, is one row.

        Returns
        -------
        ndarray of shape (n, C)
            Calibrated to the training distribution; rows sum to 1.
        """
        return self._pipeline().predict_proba(self._frame(X))

    def predict(self, X: pd.DataFrame | ArrayLike) -> NDArray[Any]:
        """Return the label that the decision rule of the metric gives each row.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, p), dict, Series or list of dicts
            The columns of `fit`. A dict or a Series, with the names of columns, is one row.

        Returns
        -------
        ndarray of shape (n,)
            Labels out of ``classes_``.
        """
        return self._pipeline().predict(self._frame(X))

    def score(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the metric on these rows, in scikit-learn's sign: higher is better.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`; labels out of ``classes_``.

        Returns
        -------
        float
            The metric, negated if lower is better (``log_loss``, ``brier``).
        """
        frame = self._frame(X)
        return self._pipeline().score(frame, y, sample_weight, metric=self.metric)

    def with_threshold(self, threshold: str | float) -> Self:
        """Return a copy of the classifier with another decision rule.

        Parameters
        ----------
        threshold : str or float
            ``"recall>=0.8"`` or ``"precision>=0.5"``, met out of fold; or the probability from
            which a row is positive.

        Returns
        -------
        AutoImbClassifier
            A fitted copy; the original is unchanged.

        Raises
        ------
        InputError
            If the expression can't be read or met.
        """
        classifier = copy(self)
        classifier.pipeline_ = self._pipeline().with_threshold(threshold)
        return classifier

    def inspect(self) -> dict[str, Any]:
        """Return a description of the fitted pipeline as plain values.

        Returns
        -------
        dict
            The values of ``autoimb inspect``: metric and score, versions, classes, columns, ...
        """
        return self._pipeline().inspect()

    def leaderboard(self) -> pd.DataFrame:
        """Return all tried strategies: complete ones first, best first.

        Returns
        -------
        DataFrame
            One row per strategy: status, score (the search score, which ranks strategies) and its
            error, reported (of the result: its score on new data), seconds, strategy, reason.
            The columns of the components are exact: `strategy` takes a row.
        """
        check_is_fitted(self, "facts_")
        return pd.DataFrame(self.facts_.leaderboard)

    def report(self, path: str | PathLike[str]) -> Path:
        """Write the report, one self-contained HTML file.

        Parameters
        ----------
        path : path-like
            The file to write; missing folders are created.

        Returns
        -------
        Path
            The file.
        """
        check_is_fitted(self, "facts_")
        write_file(Path(path), render(self.facts_).encode())
        return Path(path)

    def export(self, path: str | PathLike[str]) -> Path:
        """Write the fitted pipeline, one file of JSON and arrays (`autoimb.load` reads it).

        Parameters
        ----------
        path : path-like
            The file to write, by custom ``*.autoimb``; missing folders are created.

        Returns
        -------
        Path
            The file.
        """
        save(self._pipeline(), path)
        return Path(path)

    def _html_repr(self) -> str:
        """Return the HTML for a notebook: the fitted pipeline, then scikit-learn's parameters."""
        parameters: str = super()._html_repr()
        fitted = getattr(self, "pipeline_", None)
        return parameters if fitted is None else f"{fitted.to_html()}{parameters}"

    def _pipeline(self) -> FittedPipeline:
        check_is_fitted(self, "pipeline_")
        pipeline: FittedPipeline = self.pipeline_
        return pipeline

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = self.time_budget is not None
        return tags
