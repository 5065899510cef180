"""What each part of a search is worth."""
