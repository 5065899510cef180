"""Whether reported scores hold on later rows and on rows of new groups."""
