"""Searches of two checkouts, side by side."""
