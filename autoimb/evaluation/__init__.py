"""Evaluation of trials: planning, out-of-fold scores, the choice of the result and blending."""
