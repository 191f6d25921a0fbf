"""modAL's margin sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from modAL.uncertainty import margin_sampling
from task import Task, answer, softmax


class Head:
    """A linear head that is trained already."""

    def __init__(self, head: np.ndarray) -> None:
        self.head = head

    def predict_proba(self, X: np.ndarray, **_: Any) -> np.ndarray:
        """(n, c)"""
        return softmax(X @ self.head[:-1] + self.head[-1])


def margin(task: Task) -> Callable[[], np.ndarray]:
    """Margin sampling on the unlabeled rows."""
    rows, head = task.unlabeled, Head(task.array("head"))
    X = task.array("embeddings")[rows]

    def call() -> np.ndarray:
        found = margin_sampling(head, X, n_instances=task.budget)
        return rows[np.asarray(found[0] if isinstance(found, tuple) else found)]

    return call


answer("modal", {"margin": margin})
