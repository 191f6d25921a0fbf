"""The numerics below scores and strategies: plain functions of arrays."""
