"""Rounds under one budget: forecasts of a run, when to stop it, and the choice of a strategy by trial."""
