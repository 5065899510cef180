"""How much of the package the tests run."""
