"""Columns that cost more than a forward pass: one file a pass, found by its column's name."""

from foresift.inference.columns.base import COLUMN_PASSES, ColumnPass, Subject, column_pass

__all__ = ["COLUMN_PASSES", "ColumnPass", "Subject", "column_pass"]
