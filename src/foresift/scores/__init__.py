"""Acquisition functions: pure, columns to one value a sample, higher = more informative."""

from foresift.scores.registry import SCORES, Description, Score, describe, score

__all__ = ["SCORES", "Description", "Score", "describe", "score"]
