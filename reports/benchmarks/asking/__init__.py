"""What asking for the next strategy costs in a long search, and what a shorter history loses."""
