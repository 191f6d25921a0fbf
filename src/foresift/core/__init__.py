"""Nouns, protocols and errors; NumPy and the standard library only."""
