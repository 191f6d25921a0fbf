"""Trackers: other tools' books on models, which Foresift keeps up to date."""
