"""Encoding of typed columns as inputs of networks."""
