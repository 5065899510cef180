"""Execution of trials: backends, worker processes, progress and interruption."""
