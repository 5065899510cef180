"""How often an imbalance method beats none."""
