"""The search, from the request of the user to the result, within a deadline."""
