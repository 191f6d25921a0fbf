"""Selections of images: from arrays or a pool, guarded, kept with a receipt, replayed and explained."""
