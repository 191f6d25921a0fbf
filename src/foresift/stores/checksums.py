"""A checksum for each row of numbers, so that bits that flip on a disk do not pass for predictions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SEED = 20_220_501
_OF_NOTHING = np.uint64(0x9E3779B97F4A7C15)
"""Added to each, so that a stretch of zeros where rows and checksums lay does not fit itself."""


def row_sums(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """(n,) checksums of (n, d) rows: their bits as 32-bit words, weighed by odd random numbers, modulo 2^64.

    A change of one word is always noticed, of several all but once in 2^32 or more. One product a word and no
    loop over rows; a cryptographic digest would only help against people who may write the store anyway.
    """
    words = np.ascontiguousarray(matrix, dtype=np.float32).view(np.uint32).astype(np.uint64)
    weights = np.random.default_rng(_SEED).integers(0, 1 << 64, size=matrix.shape[1], dtype=np.uint64) | np.uint64(1)
    sums: npt.NDArray[np.uint64] = np.einsum("ij,j->i", words, weights) + _OF_NOTHING
    return sums
