"""What a cosine tail at a rung is worth."""
