"""Typed columns to what networks read."""
