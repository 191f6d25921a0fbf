"""Where work runs: a child process that can be killed, and crews of workers on this machine or on many."""

from foresift.executors.child import Child, ChildDiedError, StoppedError
from foresift.executors.crew import Crew
from foresift.executors.local import LocalCrew
from foresift.executors.serving import Task, serve

__all__ = ["Child", "ChildDiedError", "Crew", "LocalCrew", "StoppedError", "Task", "serve"]
