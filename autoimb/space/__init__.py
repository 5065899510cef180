"""The search space: components, their options, and the frozen strategy."""
