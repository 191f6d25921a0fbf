"""The typed client of a Foresift server; imports nothing of the server and no torch."""

from foresift.client.client import Client, Job, ServerError

__all__ = ["Client", "Job", "ServerError"]
