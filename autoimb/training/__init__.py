"""The only training loop, its optimizer and its schedules."""
