"""baal's BALD on given member probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from baal.active.heuristics import BALD
from task import Task, answer, softmax


def _probabilities(task: Task) -> np.ndarray:
    """(n, c, e) of the unlabeled rows."""
    return np.ascontiguousarray(softmax(task.array("members"))[:, task.unlabeled].transpose(1, 2, 0))


def bald(task: Task) -> Callable[[], np.ndarray]:
    """Mutual information, the largest first."""
    P, rows = _probabilities(task), task.unlabeled
    return lambda: rows[np.asarray(BALD()(P))[: task.budget]]


answer("baal", {"bald": bald})
