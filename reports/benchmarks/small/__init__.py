"""Small tables: parts of public ones, and generated ones of whole numbers."""
