"""Timed comparisons, each against a stated limit or peer, in one run: ``make bench``."""
