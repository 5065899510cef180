"""The fitted pipeline and its file."""
