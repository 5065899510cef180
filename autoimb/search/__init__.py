"""One Optuna study: ask, evaluate, tell, within a deadline."""
