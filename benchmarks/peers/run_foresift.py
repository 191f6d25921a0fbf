"""Foresift on the same arrays, timed in the same way."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from task import Task, answer

import foresift


def ours(spec: str) -> Callable[[Task], Callable[[], np.ndarray]]:
    """``foresift.select``, receipt and digests included."""

    def prepare(task: Task) -> Callable[[], np.ndarray]:
        text = spec.format(**{name: float(task.array(name)) for name in ("delta", "tau", "gamma")})
        members = task.array("members") if "bald" in spec else None
        logits = None if members is not None else task.array("logits")
        predictions = foresift.Predictions.from_arrays(
            np.arange(len(task.array("logits"))),
            logits=logits,
            embeddings=task.array("embeddings"),
            member_logits=members,
        )
        labeled, labels = task.array("labeled"), task.array("labels")
        # Strategies and compiled loops are imported on first use; peers import theirs before their clock starts.
        few = predictions.take(np.setdiff1d(np.arange(64), labeled))
        foresift.select(few, text, budget=5, seed=task.seed, labeled=[], labels=[])

        def call() -> np.ndarray:
            return foresift.select(
                predictions, text, budget=task.budget, labeled=labeled, labels=labels, seed=task.seed
            ).sample_ids

        return call

    return prepare


answer("foresift", {sys.argv[1]: ours(sys.argv[1])})
