"""Whether the probabilities of what is deployed can be taken at their word."""
