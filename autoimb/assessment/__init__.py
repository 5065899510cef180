"""Metrics, decision rules, calibration, errors and verdicts."""
