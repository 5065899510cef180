"""How probabilities become labels."""
