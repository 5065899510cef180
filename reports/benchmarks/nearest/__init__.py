"""What the nearest training rows add to a network."""
