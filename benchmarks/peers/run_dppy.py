"""DPPy's exact k-DPP of the RBF kernel on the cosine distance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from dppy.finite_dpps import FiniteDPP
from task import Task, answer


def k_dpp(task: Task) -> Callable[[], np.ndarray]:
    """The kernel matrix is part of the call: it is what the method has to work with."""
    X = task.array("embeddings")
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    tau, rows = float(task.array("tau")), task.unlabeled

    def call() -> np.ndarray:
        L = np.exp((X[rows] @ X[rows].T - 1).astype(np.float64) / tau)
        picked = FiniteDPP("likelihood", L=L).sample_exact_k_dpp(
            size=task.budget, random_state=np.random.RandomState(task.seed)
        )
        return rows[np.asarray(picked)]

    return call


answer("dppy", {"k-dpp": k_dpp})
