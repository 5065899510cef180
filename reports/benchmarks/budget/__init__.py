"""Whether searches end in time."""
