"""What a killed search loses."""
