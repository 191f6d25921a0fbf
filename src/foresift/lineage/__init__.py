"""Generations of models: what they run on, what a fleet of them uploads, how data drifts away from them."""
