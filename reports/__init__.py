"""What was measured, decided and changed."""
