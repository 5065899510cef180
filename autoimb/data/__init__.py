"""From the user's table to arrays: reading, schema, encoding and fold plans."""
