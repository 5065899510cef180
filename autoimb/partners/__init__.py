"""Partners of the networks in a blend: boosted trees, fitted by scikit-learn and kept as arrays."""
