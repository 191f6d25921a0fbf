"""scikit-activeml's pool strategies on arrays that were computed before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, CoreSet, DropQuery, MaxHerding, ProbCover, TypiClust, UncertaintySampling
from task import Task, answer, softmax


class Head(SkactivemlClassifier):
    """A linear head that is trained already."""

    def __init__(self, head: Any = None, classes: Any = None) -> None:
        super().__init__(classes=classes)
        self.head = head

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Head:  # noqa: ARG002 - it is trained already
        """Itself."""
        self.classes_ = np.asarray(self.classes)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, c)"""
        return softmax(X @ self.head[:-1] + self.head[-1])

    def predict(self, X: Any) -> np.ndarray:
        """(n,) the most probable class."""
        return self.predict_proba(X).argmax(axis=1)


def query(make: Callable[[Task], Any], *, needs_head: bool = False) -> Callable[[Task], Callable[[], np.ndarray]]:
    """A call of ``query`` on the embeddings, labels of unlabeled rows missing."""

    def prepare(task: Task) -> Callable[[], np.ndarray]:
        X, y = task.array("embeddings"), np.full(len(task.array("logits")), np.nan)
        y[task.array("labeled")] = task.array("labels")
        strategy, extra = make(task), {}
        if needs_head:
            head = task.array("head")
            extra = {"clf": Head(head, list(range(head.shape[1]))).fit(X, y), "fit_clf": False}
        return lambda: strategy.query(X=X, y=y, batch_size=task.budget, **extra)

    return prepare


answer(
    "skactiveml",
    {
        "margin": query(lambda t: UncertaintySampling(method="margin_sampling", random_state=t.seed), needs_head=True),
        "k-center": query(lambda t: CoreSet(random_state=t.seed)),
        "badge": query(lambda t: Badge(random_state=t.seed), needs_head=True),
        "drop-query": query(lambda t: DropQuery(random_state=t.seed), needs_head=True),
        "typiclust": query(lambda t: TypiClust(random_state=t.seed)),
        "prob-cover": query(lambda t: ProbCover(n_classes=10, deltas=[float(t.array("delta"))], random_state=t.seed)),
        "max-herding": query(
            lambda t: MaxHerding(
                normalize_samples=False, metric_dict={"gamma": float(t.array("gamma"))}, random_state=t.seed
            )
        ),
    },
)
