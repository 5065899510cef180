"""What training scores, old and new."""
