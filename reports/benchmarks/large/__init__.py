"""What a search of a folder that memory does not hold takes and gives."""
