"""The network room: one file a family."""
