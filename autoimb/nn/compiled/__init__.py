"""What trains a pack on a CPU: loops compiled by numba. Loaded by training alone."""
