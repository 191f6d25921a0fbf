"""Foresift sifts today's images for tomorrow's model."""
