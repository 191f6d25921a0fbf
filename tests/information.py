"""Fisher and mutual information by their definitions: slow, explicit, in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


def fisher_information(logits: Array, h: Array) -> Array:
    """(n, D, D) expected outer products of the gradients of the log-likelihood by the last layer."""
    z = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    p = z / z.sum(axis=1, keepdims=True)
    n, c = p.shape
    result = np.zeros((n, c * h.shape[1], c * h.shape[1]))
    for i in range(n):
        for y in range(c):
            gradient = np.outer(np.eye(c)[y] - p[i], h[i].astype(np.float64)).ravel()
            result[i] += p[i, y] * np.outer(gradient, gradient)
    return result


def joint_information(logits: Array, rows: Sequence[int]) -> float:
    """I(labels of rows; member) from every configuration of labels, in double precision."""
    z = np.exp(logits.astype(np.float64))
    p = z / z.sum(axis=2, keepdims=True)
    e, c = p.shape[1:]
    joint = conditional = 0.0
    for labels in product(range(c), repeat=len(rows)):
        given_member = [np.prod([p[row, m, y] for row, y in zip(rows, labels, strict=True)]) for m in range(e)]
        whole = sum(given_member) / e
        joint -= whole * np.log(whole)
        conditional -= sum(q * np.log(q) for q in given_member) / e
    return joint - conditional


def logits_and_embeddings(
    n: int, c: int, d: int, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=2, size=(n, c)).astype(np.float32), rng.normal(size=(n, d)).astype(np.float32)


def member_logits(n: int, e: int, c: int, seed: int = 0, scale: float = 1.5) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(scale=scale, size=(n, e, c)).astype(np.float32)
