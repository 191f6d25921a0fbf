"""The typed client of a Foresift server; imports nothing of the server and no torch."""

from foresift.client.client import Client, Job
from foresift.client.transports import ServerError

__all__ = ["Client", "Job", "ServerError"]
