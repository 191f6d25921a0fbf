"""The search for a part of a labeled set that is enough."""
