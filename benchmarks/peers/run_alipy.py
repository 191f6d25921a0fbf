"""ALiPy's uncertainty sampling and greedy Core-Set."""

from __future__ import annotations

import collections
import collections.abc
from collections.abc import Callable

import numpy as np

collections.Iterable = collections.abc.Iterable  # it was written for a Python that still had this name

from alipy.query_strategy import QueryInstanceCoresetGreedy, QueryInstanceUncertainty  # noqa: E402
from task import Task, answer  # noqa: E402


def margin(task: Task) -> Callable[[], np.ndarray]:
    """Margin sampling on given probabilities."""
    rows, P = task.unlabeled, task.probabilities()
    strategy = QueryInstanceUncertainty(np.zeros((len(P), 1)), np.zeros(len(P)), measure="margin")
    return lambda: strategy.select_by_prediction_mat(rows, P[rows], batch_size=task.budget)


def k_center(task: Task) -> Callable[[], np.ndarray]:
    """Greedy Core-Set from the labeled rows."""
    X, rows, labeled = task.array("embeddings"), task.unlabeled, task.array("labeled")

    def call() -> np.ndarray:
        every = np.arange(len(X))
        return QueryInstanceCoresetGreedy(X, np.zeros(len(X)), every).select(labeled, rows, batch_size=task.budget)

    return call


answer("alipy", {"margin": margin, "k-center": k_center})
