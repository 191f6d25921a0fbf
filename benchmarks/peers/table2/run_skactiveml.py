"""scikit-activeml's ``UncertaintySampling``: a classifier is asked about an array of all images, no label known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import UncertaintySampling
from task import CLASSES, Task, answer, probabilities


class Classifier(SkactivemlClassifier):
    """A network that is trained already."""

    def __init__(self, network: Any = None, batch: int = 64, classes: Any = None) -> None:
        super().__init__(classes=classes)
        self.network = network
        self.batch = batch

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Classifier:  # noqa: ARG002 - it is trained already
        """Itself."""
        self.classes_ = np.asarray(self.classes)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, c)"""
        return probabilities(self.network, X, self.batch)


def choose(task: Task) -> Callable[[], np.ndarray]:
    """``strategy.query``."""
    classifier = Classifier(task.network(), task.batch, classes=list(range(CLASSES))).fit(None, None)
    strategy = UncertaintySampling(method="least_confident", random_state=0)

    def call() -> np.ndarray:
        missing = np.full(len(task.files), np.nan)
        return strategy.query(X=task.array(), y=missing, clf=classifier, fit_clf=False, batch_size=task.budget)

    return call


answer("skactiveml", choose)
