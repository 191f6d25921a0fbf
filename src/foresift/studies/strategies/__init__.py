"""The comparison of every strategy with random."""
