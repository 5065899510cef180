"""How fast a pipeline predicts."""
