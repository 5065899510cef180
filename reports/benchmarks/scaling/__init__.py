"""What a hundred workers are worth, and where a study of a hundred drivers is slow."""
