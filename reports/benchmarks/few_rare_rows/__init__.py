"""What would gain where rows of the rarest class are few."""
