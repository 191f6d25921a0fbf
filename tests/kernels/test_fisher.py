"""Traces in small forms against explicit inverses."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.matrices import RowMatrix
from foresift.kernels import fisher
from information import fisher_information, logits_and_embeddings


def test_information_is_the_sum_of_outer_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "CELLS", 1)
    logits, h = logits_and_embeddings(150, 3, 4)
    each = fisher_information(logits, h)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    matrix = RowMatrix(array=h)
    np.testing.assert_allclose(fisher.information(p, matrix), each.sum(axis=0), atol=1e-10)
    start, target = np.eye(12), each.mean(axis=0)
    design = fisher.Design(p, matrix, pool=target, design=start)
    for row in (5, 140, 5):
        design.add(row)
    design.remove(140)
    whole = np.linalg.inv(start + 2 * each[5])
    assert design.trace == pytest.approx(np.trace(whole @ target))
    for row in (0, 5, 140):
        after = np.trace(np.linalg.inv(start + 2 * each[5] + each[row]) @ target)
        assert design.falls()[row] == pytest.approx(np.trace(whole @ target) - after)
    removed = np.trace(np.linalg.inv(start + each[5]) @ target)
    assert design.rises()[5] == pytest.approx(removed - np.trace(whole @ target))
