"""How well a minute of autoimb predicts."""
