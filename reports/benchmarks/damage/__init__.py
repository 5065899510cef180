"""What damaged and forged files do."""
