"""One table with whole days held out."""
