"""Packed layers: every parameter carries a leading member axis."""
