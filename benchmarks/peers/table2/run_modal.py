"""modAL's ``ActiveLearner``: an estimator with ``predict_proba`` is asked about one array of all images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from modAL.models import ActiveLearner
from modAL.uncertainty import uncertainty_sampling
from sklearn.base import BaseEstimator
from task import Task, answer, probabilities


class Estimator(BaseEstimator):
    """A network that is trained already."""

    def __init__(self, network: Any = None, batch: int = 64) -> None:
        self.network = network
        self.batch = batch

    def fit(self, X: np.ndarray, y: np.ndarray) -> Estimator:  # noqa: ARG002 - it is trained already
        """Itself."""
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, c)"""
        return probabilities(self.network, X, self.batch)


def choose(task: Task) -> Callable[[], np.ndarray]:
    """``learner.query``."""
    learner = ActiveLearner(Estimator(task.network(), task.batch), query_strategy=uncertainty_sampling)
    return lambda: learner.query(task.array(), n_instances=task.budget)[0]


answer("modal", choose)
