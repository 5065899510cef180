"""Whether memory, threads, files and processes stay flat over many fits and searches."""
