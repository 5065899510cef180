"""What a long study costs: a trial, an ask and joining, in PostgreSQL and in a journal."""
