"""Tree models that join networks in a blend, fitted by scikit-learn and kept as arrays."""
