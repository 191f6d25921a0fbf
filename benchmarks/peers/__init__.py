"""The same question to every active-learning library that installs from the package index.

Each peer lives in a virtual environment of its own, made from its requirements file; none is
ever a dependency of Foresift.
"""
