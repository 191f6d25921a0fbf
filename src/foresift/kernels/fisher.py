"""Fisher information of a softmax layer, and how its trace falls with every sample that is added.

The information of a sample is ``B (x) h h'`` with B = diag(p) - p p' (c, c) and embedding h (d,), a matrix of
D = c d rows. With M the information of a design and F that of the pool, a candidate matters only by
``Q[a, b] = h' M^-1[a, b] h`` and ``R[a, b] = h' (M^-1 F M^-1)[a, b] h``, two (c, c) matrices: these are kept
for every candidate and updated, so that neither gradients (n, c, d) nor inverses are formed again. All float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from foresift.core.arrays import Values
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix

Floats = npt.NDArray[np.float64]
CELLS = 1 << 21
"""Numbers in a block: 16 MiB."""
LEAST_CONDITION = 1e-12
"""Reciprocal condition of a design below which its inverse has fewer than four right digits."""


def information(probs: Floats, embeddings: RowMatrix) -> Floats:
    """(D, D) sum over n rows of ``(diag(p) - p p') (x) h h'``; zeros where there are no rows.

    Args:
        probs: (n, c), rows sum to 1.
        embeddings: (n, d).
    Cost: O(n D^2) time, D^2 numbers and one block of memory.
    """
    c, d = probs.shape[1], embeddings.width
    total = np.zeros((c, d, c, d))
    for start, stop, h in _blocks(embeddings, width=d):
        p = probs[start:stop]
        for a in range(c):
            for b in range(a, c):
                weights = -p[:, a] * p[:, b] if a != b else p[:, a] * (1 - p[:, a])
                total[a, :, b] += h.T @ (weights[:, None] * h)
    for a in range(c):
        for b in range(a):
            total[a, :, b] = total[b, :, a].T
    return total.reshape(c * d, c * d)


class Design:
    """A design M to which candidates are added, or from which they are removed, one by one.

    Args:
        probs: (n, c) of the candidates.
        embeddings: (n, d) of the candidates.
        pool: (D, D) the information F whose trace ``tr(M^-1 F)`` is to fall.
        design: (D, D) the information M at the start, positive definite.
    Raises:
        UsageError: the design can't be inverted in float64.
    Cost: O(n D^2 + D^3) at the start, O(n (d c^2 + c^3) + c D^2) for each change; 2 n c^2 + 2 D^2 numbers.
    Source: Ash et al. 2021, section 3 and appendix: Woodbury's identity for rank c.
    """

    def __init__(self, probs: Floats, embeddings: RowMatrix, *, pool: Floats, design: Floats) -> None:
        self._probs, self._embeddings, self._pool = probs, embeddings, pool
        self._inverse = _inverse(design)
        self._q = self._forms(self._inverse)
        self._r = self._forms(self._inverse @ pool @ self._inverse)

    def __len__(self) -> int:
        return len(self._probs)

    @property
    def trace(self) -> float:
        """tr(M^-1 F)."""
        return float(np.vdot(self._inverse, self._pool))

    def falls(self) -> Values:
        """(n,) by how much the trace would fall if a candidate were added; 0 or more."""
        return np.maximum(self._changes(1.0), 0)

    def rises(self) -> Values:
        """(n,) by how much the trace would rise if a candidate, which is in the design, were removed."""
        return np.maximum(self._changes(-1.0), 0)

    def add(self, row: int) -> None:
        """Add the information of a candidate."""
        self._change(row, 1.0)

    def remove(self, row: int) -> None:
        """Take away the information of a candidate that is in the design."""
        self._change(row, -1.0)

    def _forms(self, matrix: Floats) -> Floats:
        """(n, c, c) h' matrix[a, b] h of every candidate, for a symmetric (D, D) matrix."""
        c, d = self._probs.shape[1], self._embeddings.width
        parts = matrix.reshape(c, d, c, d)
        forms = np.empty((len(self._probs), c, c))
        for start, stop, h in _blocks(self._embeddings, width=d):
            for a in range(c):
                for b in range(a, c):
                    forms[start:stop, a, b] = forms[start:stop, b, a] = np.einsum("ni,ni->n", h @ parts[a, :, b], h)
        return forms

    def _changes(self, sign: float) -> Values:
        """(n,) tr(R (1 + sign B Q)^-1 B), which is what the trace changes by."""
        c = self._probs.shape[1]
        result = np.empty(len(self._probs))
        step = max(1, CELLS // (c * c))
        for at in range(0, len(result), step):
            p, q, r = self._probs[at : at + step], self._q[at : at + step], self._r[at : at + step]
            bq = p[:, :, None] * (q - np.einsum("na,nab->nb", p, q)[:, None, :])
            b = p[:, :, None] * (np.eye(c) - p[:, None, :])
            result[at : at + step] = np.einsum("nab,nba->n", r, np.linalg.solve(np.eye(c) + sign * bq, b))
        return result

    def _change(self, row: int, sign: float) -> None:
        """M + sign V V' by Woodbury's identity: M^-1 - sign U U', and what follows for Q and R."""
        factor = self._factor(row)
        z = self._inverse @ factor
        values, vectors = np.linalg.eigh(factor.T @ z)
        rest = np.maximum(1 + sign * values, np.finfo(np.float64).eps)
        u = z @ (vectors / np.sqrt(rest))
        fu = self._pool @ u
        w = self._inverse @ fu - (sign / 2) * (u @ (u.T @ fu))
        self._inverse -= sign * (u @ u.T)
        for start, stop, h in _blocks(self._embeddings, width=self._probs.shape[1] ** 2):
            hu, hw = self._projected(h, u), self._projected(h, w)
            self._q[start:stop] -= sign * (hu @ hu.transpose(0, 2, 1))
            cross = hu @ hw.transpose(0, 2, 1)
            self._r[start:stop] -= sign * (cross + cross.transpose(0, 2, 1))

    def _factor(self, row: int) -> Floats:
        """(D, c) V with V V' the information of a candidate: columns sqrt(p_y) (e_y - p) (x) h."""
        p, h = self._probs[row], self._embeddings.take([row])[0].astype(np.float64)
        a = (np.eye(len(p)) - p[:, None]) * np.sqrt(p)
        return np.kron(a, h[:, None])

    def _projected(self, h: Floats, u: Floats) -> Floats:
        """(b, c, c) h' u[a, :, y] for a (D, c) matrix."""
        c, d = self._probs.shape[1], self._embeddings.width
        return (h @ u.reshape(c, d, c).transpose(1, 0, 2).reshape(d, c * c)).reshape(len(h), c, c)


def _inverse(design: Floats) -> Floats:
    """(D, D) the inverse of a symmetric positive definite matrix, by Cholesky.

    Raises:
        UsageError: fewer than four digits of the inverse would be right.
    """
    norm = np.abs(design).sum(axis=0).max()
    factor, failed = lapack.dpotrf(design, lower=True)
    condition = 0.0 if failed else lapack.dpocon(factor, norm, uplo="L")[0]
    if not condition > LEAST_CONDITION:
        raise UsageError(
            f"the Fisher information can't be inverted: its largest numbers ({norm:.2g}) dwarf the ridge; divide the "
            "embeddings by their standard deviation, or give a larger ridge"
        )
    lower = np.tril(lapack.dpotri(factor, lower=True)[0])
    return np.asarray(lower + np.tril(lower, -1).T, dtype=np.float64)


def principal(embeddings: RowMatrix, dims: int) -> Floats:
    """(d, dims) orthonormal directions in which the second moments of the rows are largest; not centred.

    Cost: O(n d^2 + d^3) time, d^2 numbers and one block of memory.
    """
    moments = np.zeros((embeddings.width, embeddings.width))
    for _, _, h in _blocks(embeddings, width=embeddings.width):
        moments += h.T @ h
    return np.linalg.eigh(moments)[1][:, ::-1][:, :dims]


def projected(embeddings: RowMatrix, directions: Floats) -> RowMatrix:
    """(n, dims) the rows along (d, dims) directions, as float32 in memory."""
    result = np.empty((len(embeddings), directions.shape[1]), dtype=np.float32)
    for start, stop, h in _blocks(embeddings, width=embeddings.width):
        result[start:stop] = h @ directions
    return RowMatrix(array=result)


def _blocks(embeddings: RowMatrix, *, width: int) -> Iterator[tuple[int, int, Floats]]:
    """Consecutive blocks of rows as float64, of about ``CELLS`` numbers where each row needs ``width``."""
    step = max(64, CELLS // max(width, embeddings.width))
    for start in range(0, len(embeddings), step):
        stop = min(start + step, len(embeddings))
        yield start, stop, embeddings.block(start, stop).astype(np.float64)
