"""Calibration of predicted probabilities.

Two corrections are exact where their formula applies (:func:`correct_prior`,
:func:`focal_posterior`). The remaining miscalibration is estimated from out-of-fold rows by vector
scaling (:func:`fit_calibrator`), cross-fitted for rows that are scored (:class:`Finishing`). An
out-of-fold row is predicted by one network, a new row by the mean of several networks;
:func:`for_all_networks` adapts a calibrator of the former to the latter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import ArrayLike
from scipy.special import softmax

from autoimb.arrays import Floats, Ints, Mask

__all__ = [
    "Calibrator",
    "Finishing",
    "LogRatio",
    "at_rates",
    "calibrator_that_gains",
    "correct_prior",
    "finish",
    "fit_calibrator",
    "focal_posterior",
    "for_all_networks",
    "log_proba",
    "row_log_loss",
]

LogRatio = Annotated[float, Meta(ge=-1e4, le=1e4)]  # logarithm of a ratio of probabilities

_FLOOR = 1e-15  # smaller probabilities are raised to this value
_MIN_SLOPE = 0.01  # a calibrator never reverses the order of the classes
_PULL_SLOPE, _PULL_BIAS = 1.0, 0.1  # ridge toward the identity, worth about this many rows
_STEPS = 50
# Without signal the networks agree in nothing, and the regression of their mean has no slope.
_MAX_SHARPENING = 2.0


def log_proba(proba: Floats) -> Floats:
    """Return the logarithm of probabilities (float64, same shape), clipped at 1e-15."""
    logs: Floats = np.log(np.maximum(np.asarray(proba, dtype=np.float64), _FLOOR))
    return logs


def row_log_loss(y: Ints, proba: Floats, *, floor: float = _FLOOR) -> Floats:
    """Return the negative log-probability (n,) of each row's class, of probabilities (n, C)."""
    class_proba = np.asarray(proba)[np.arange(len(y)), y]
    losses: Floats = -np.log(np.clip(class_proba, floor, 1.0))
    return losses


class Calibrator(Struct, frozen=True, forbid_unknown_fields=True):
    """Vector scaling: ``softmax(slope * log p + bias)``.

    Attributes
    ----------
    slope : float
        Positive; a slope below 1 reduces overconfidence.
    bias : tuple of float
        Shift of each class; it corrects the class frequencies.
    """

    slope: Annotated[float, Meta(ge=1e-6, le=1e6)]
    bias: tuple[LogRatio, ...]

    @classmethod
    def identity(cls, n_classes: int) -> Calibrator:
        """Return the calibrator that changes nothing."""
        return cls(1.0, (0.0,) * n_classes)

    def apply(self, proba: Floats) -> Floats:
        """Calibrate probabilities of shape (..., C); float64, rows sum to 1."""
        logits = self.slope * log_proba(proba) + np.asarray(self.bias)
        calibrated: Floats = np.exp(correct_prior(logits, 0.0))
        return calibrated


def finish(proba: Floats, calibrator: Calibrator, class_costs: tuple[float, ...] | None) -> Floats:
    """Calibrate probabilities (n, C) and multiply them by class costs (C,), if there are any."""
    proba = calibrator.apply(proba)
    if class_costs is not None:
        proba = proba * np.asarray(class_costs)
    finished: Floats = proba / proba.sum(axis=1, keepdims=True)
    return finished


@dataclass(frozen=True, eq=False)
class Finishing:
    """Cross-fitted calibration of out-of-fold probabilities: each part by the other parts.

    A model that is fitted on calibrated rows and applied to a part must not see the labels of that
    part through the calibrators of the other parts. So it is fitted on :meth:`view` of that part.

    Attributes
    ----------
    raw : ndarray of float64, shape (n, C)
        Probabilities before calibration.
    calibrators : tuple of Calibrator
        One a part, in the order of :func:`autoimb.assessment.crossfit.leave_group_out`; each is
        fitted on the labels of the other parts.
    class_costs : tuple of C floats, or None
        See :func:`finish`.
    """

    raw: Floats
    calibrators: tuple[Calibrator, ...]
    class_costs: tuple[float, ...] | None = None

    def view(self, part: int) -> Floats:
        """Return all rows by the calibrator that saw no label of the part; float64, (n, C)."""
        return finish(self.raw, self.calibrators[part], self.class_costs)


@dataclass(frozen=True)
class _Problem:
    """Weighted log-loss of vector scaling, with its ridge; ``theta`` is (slope, bias...)."""

    logs: Floats  # (n, C)
    truth: Floats  # (n, C), one-hot or probabilities
    weight: Floats  # (n,)

    def minimum(
        self, start: Calibrator, *, fixed_slope: bool = False, present: Mask | None = None
    ) -> Calibrator:
        """Minimise the loss by Newton's method with step halving.

        The biases of classes that are not `present` keep their start. scipy's ``trust-exact`` takes
        one to seven times as long, and each trial needs a minimum for every part
        (``reports/design/calibration.md``).
        """
        theta = np.array([start.slope, *start.bias])
        free = np.ones(len(theta), dtype=bool) if present is None else np.append(True, present)
        free[0] = not fixed_slope
        loss = self.loss(theta)
        for _ in range(_STEPS):
            gradient, hessian = self.derivatives(theta)
            step = np.zeros_like(theta)
            step[free] = np.linalg.solve(hessian[np.ix_(free, free)], -gradient[free])
            # With the Hessian H, this is gᵀ H⁻¹ g: twice the decrease that a whole step promises.
            decrease = -float(gradient @ step)
            if decrease <= 1e-10:
                break
            size = 1.0
            # A step is halved until the loss falls by a part of what the gradient promises (Armijo,
            # 1966), so that Newton's method converges from any start.
            while (new := self.loss(theta + size * step)) > loss - 1e-4 * size * decrease:
                size /= 2
                if size < 1e-8:  # only rounding errors keep the loss from falling
                    return _calibrator(theta)
            theta, loss = theta + size * step, new
        return _calibrator(theta)

    def loss(self, theta: Floats) -> float:
        logits = theta[0] * self.logs + theta[1:]
        top = logits.max(axis=1)
        true_logit = (self.truth * logits).sum(axis=1)
        # The log-sum-exp is computed from the largest logit, so that it does not overflow.
        fit = self.weight @ (top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - true_logit)
        pull = _PULL_SLOPE * (theta[0] - 1) ** 2 + _PULL_BIAS * (theta[1:] ** 2).sum()
        return float(fit + pull / 2)

    def derivatives(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return the gradient (1 + C,) and the Hessian (1 + C, 1 + C)."""
        proba = softmax(theta[0] * self.logs + theta[1:], axis=1)
        miss = (proba - self.truth) * self.weight[:, None]
        gradient = np.concatenate([[(miss * self.logs).sum()], miss.sum(axis=0)])
        gradient += np.concatenate([[_PULL_SLOPE * (theta[0] - 1)], _PULL_BIAS * theta[1:]])
        # The Hessian is the weighted covariance, under each row's softmax, of the log-probabilities
        # (slope) and of the class indicators (biases), plus the ridge.
        weighted = proba * self.weight[:, None]
        mean_log = (proba * self.logs).sum(axis=1, keepdims=True)
        centred = self.logs - mean_log
        hessian = np.empty((len(theta), len(theta)))
        hessian[0, 0] = (weighted * centred**2).sum() + _PULL_SLOPE
        hessian[0, 1:] = hessian[1:, 0] = (weighted * centred).sum(axis=0)
        hessian[1:, 1:] = np.diag(weighted.sum(axis=0) + _PULL_BIAS) - weighted.T @ proba
        return gradient, hessian


def _calibrator(theta: Floats) -> Calibrator:
    return Calibrator(float(theta[0]), tuple(theta[1:].tolist()))


def fit_calibrator(y: Ints, proba: Floats, *, weight: Floats | None = None) -> Calibrator:
    """Fit vector scaling by weighted log-loss.

    A small ridge shrinks toward the identity, so few rows change little. A class without rows keeps
    the bias 0. Sees: the rows passed in, which must be out-of-fold.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    proba : ndarray of float, shape (n, C)
        Probabilities to calibrate.
    weight : ndarray of float64, shape (n,), optional
        Row weights of mean about 1.

    Returns
    -------
    Calibrator
        The identity where fewer than two classes have rows.
    """
    n_classes = proba.shape[1]
    weight = np.ones(len(y)) if weight is None else weight
    present = np.bincount(y, weights=weight, minlength=n_classes) > 0
    if present.sum() < 2:
        return Calibrator.identity(n_classes)
    start = Calibrator.identity(n_classes)
    problem = _Problem(log_proba(proba), np.eye(n_classes)[y], weight)
    fitted = problem.minimum(start, present=present)
    # A slope at or below 0 would reverse the classes; it is fixed and the biases are refitted.
    if fitted.slope < _MIN_SLOPE:
        start = Calibrator(_MIN_SLOPE, start.bias)
        fitted = problem.minimum(start, fixed_slope=True, present=present)
    return fitted


def calibrator_that_gains(y: Ints, proba: Floats, *, weight: Floats | None = None) -> Calibrator:
    """Fit vector scaling and return it if it gains more than chance would; else the identity.

    By chance, C free parameters gain a log-likelihood of C (Akaike, 1974). Where rows are weighted
    because they represent omitted rows, the gain by chance is multiplied by the weighted mean of
    the weights (Kish, "Survey sampling", 1965).

    Parameters
    ----------
    y, proba, weight
        See `fit_calibrator`. Sees: these rows, which must be out-of-fold.

    Returns
    -------
    Calibrator
    """
    n_classes = proba.shape[1]
    weight = np.ones(len(y)) if weight is None else weight
    fitted = fit_calibrator(y, proba, weight=weight)
    gain = weight @ (row_log_loss(y, proba) - row_log_loss(y, fitted.apply(proba)))
    # The gain exceeds n_classes times the weighted mean of the weights.
    gains = gain * weight.sum() > n_classes * (weight @ weight)
    return fitted if gains else Calibrator.identity(n_classes)


def for_all_networks(
    calibrator: Calibrator, views: Floats, mean_proba: Floats, *, weight: Floats
) -> Calibrator:
    """Adapt a calibrator of single networks to the mean of all networks.

    The mean has less training noise than a single network, so a calibrator of single networks
    leaves it underconfident. The regression of the mean on a single network has the slope by which
    the two calibrators differ, as in the formula for the reliability of several tests (Spearman,
    1910; Brown, 1910). No label is needed: vector scaling of the views is fitted to the mean's
    probabilities. The biases keep the mean of the calibrated probabilities.

    Sees: rows that most of the networks were trained on. Networks differ there by as much as on new
    rows (``reports/design/calibration.md``).

    Parameters
    ----------
    calibrator : Calibrator
        Calibrator of rows that are predicted by one network each.
    views : ndarray of float64, shape (V, n, C)
        Probabilities of the rows, by one network each.
    mean_proba : ndarray of float64, shape (n, C)
        Probabilities of the rows, by all networks.
    weight : ndarray of float64, shape (n,)
        Row weights.

    Returns
    -------
    Calibrator
        Calibrator of the mean; its slope is one to two times that of `calibrator`.
    """
    n_classes = mean_proba.shape[1]
    target, weights = np.tile(mean_proba, (len(views), 1)), np.tile(weight / len(views), len(views))
    regression = _Problem(log_proba(views.reshape(-1, n_classes)), target, weights)
    slope = regression.minimum(Calibrator.identity(n_classes)).slope
    sharpening = float(np.clip(1.0 / max(slope, _MIN_SLOPE), 1.0, _MAX_SHARPENING))
    # With the slope fixed, the biases are fitted to the calibrated probabilities of the views.
    sharpened = Calibrator(sharpening * calibrator.slope, calibrator.bias)
    calibrated = calibrator.apply(views).mean(axis=0)
    problem = _Problem(log_proba(mean_proba), calibrated, weight)
    return problem.minimum(sharpened, fixed_slope=True)


def at_rates(
    calibrator: Calibrator, calibrated: Floats, rates: Floats, *, weight: Floats
) -> Calibrator:
    """Shift a calibrator's biases until the mean probabilities are the rates of the classes.

    Parameters
    ----------
    calibrator : Calibrator
    calibrated : ndarray of float64, shape (n, C)
        Probabilities of rows, by this calibrator.
    rates : ndarray of float64, shape (C,)
        Rates of the classes; their sum is 1.
    weight : ndarray of float64, shape (n,)
        Row weights.

    Returns
    -------
    Calibrator
        Calibrator with the same slope. Because of the ridge the mean may miss the rates, by less
        than one row.
    """
    target, row_weight = np.tile(rates, (len(weight), 1)), weight / weight.mean()
    problem = _Problem(log_proba(calibrated), target, row_weight)
    shift = problem.minimum(Calibrator.identity(len(rates)), fixed_slope=True).bias
    return Calibrator(calibrator.slope, tuple(np.add(calibrator.bias, shift).tolist()))


def focal_posterior(proba: Floats, gamma: float) -> Floats:
    """Convert the output of a network trained with the focal loss to class posteriors.

    The minimiser ``v`` of the focal risk is not the class posterior, but determines it:
    ``h(v_c) / sum_j h(v_j)`` with ``h(v) = v / ((1-v)^gamma - gamma (1-v)^(gamma-1) v log v)``
    (Charoenphakdee et al., 2021, "On Focal Loss for Class-Posterior Probability Estimation").

    Parameters
    ----------
    proba : ndarray of float, shape (..., C)
        Softmax output of a network trained with the focal loss.
    gamma : float
        The loss's gamma, at least 0; 0 changes nothing.

    Returns
    -------
    ndarray of float64, shape (..., C)
        Posterior probabilities; rows sum to 1.
    """
    logs = log_proba(proba)
    v = np.exp(logs)
    rest = np.maximum(v.sum(axis=-1, keepdims=True) - v, _FLOOR)
    if proba.shape[-1] == 2:  # exact, without the rounding of 1 - v
        rest = v[..., ::-1]
    curvature = np.clip(-v * logs / rest, 0.0, 1.0)  # 1 at v = 1, 0 at v = 0
    posterior: Floats = softmax(logs - gamma * np.log(rest) - np.log1p(gamma * curvature), axis=-1)
    return posterior


def correct_prior(logp: ArrayLike, log_ratio: ArrayLike) -> Floats:
    """Correct log-probabilities from the effective prior of training to the real prior.

    Parameters
    ----------
    logp : array-like of float, shape (..., C)
        Log-probabilities, or logits: a constant per row cancels.
    log_ratio : array-like of float, shape (C,) or broadcastable to (..., C)
        Logarithm of effective prior over real prior for each class, up to a constant: the log of
        sampling rate times weight. A class with twice as many rows has log 2.

    Returns
    -------
    ndarray of float64, shape (..., C)
        Normalised log-probabilities.
    """
    # Bayes' rule: the posterior under the real prior is proportional to that of training times real
    # prior / effective prior.
    logits = np.asarray(logp, dtype=np.float64) - np.asarray(log_ratio, dtype=np.float64)
    # (..., C) -> (C, ...): sums over a last axis of length two would dominate the prediction time.
    leading = np.ascontiguousarray(np.moveaxis(logits, -1, 0))
    leading -= leading.max(axis=0)
    leading -= np.log(np.exp(leading).sum(axis=0))
    return np.moveaxis(leading, 0, -1)
