"""Training of networks: plan, schedule, optimizer and the only training loop."""
