"""Where work runs: a child process that can be killed."""

from foresift.executors.child import Child, ChildDiedError, StoppedError
from foresift.executors.serving import Task, serve

__all__ = ["Child", "ChildDiedError", "StoppedError", "Task", "serve"]
