"""Columns that take a training on the pool itself: one file a pass, found by its column's name."""

from foresift.training.columns.base import FITTED_PASSES, PIXELS, FitInputs, FittedPass, fitted_pass

__all__ = ["FITTED_PASSES", "PIXELS", "FitInputs", "FittedPass", "fitted_pass"]
