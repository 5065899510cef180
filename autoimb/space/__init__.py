"""The search space: rooms, their options, and the frozen strategy."""
