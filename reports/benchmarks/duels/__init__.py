"""Whether matched duels keep what they promise."""
