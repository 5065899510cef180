"""Loops compiled by numba that train a pack on a CPU; only training imports them."""
