"""Where work runs: a child process that can be killed, and crews of workers on this machine or on many."""

from foresift.executors.child import Child, ChildDiedError, ChildFailedError, StoppedError, step_back
from foresift.executors.crew import Crew
from foresift.executors.local import LocalCrew
from foresift.executors.serving import Task, serve

__all__ = [
    "Child",
    "ChildDiedError",
    "ChildFailedError",
    "Crew",
    "LocalCrew",
    "StoppedError",
    "Task",
    "serve",
    "step_back",
]
