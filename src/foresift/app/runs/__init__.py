"""Runs that last for weeks: the file, the rounds, people's answers, and the worker that carries them on."""
