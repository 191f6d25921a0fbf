"""How many samples members agree on, member by member in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError

Classes = npt.NDArray[np.integer[Any]]


class Consensus:
    """Counts the samples of which all members so far say the same, and those of which two in a row do.

    Holds the first member's answers, the last one's, and who still agrees: 3 numbers a sample for any number of
    members. Give the last checkpoint first: then ``joint[m - 1]`` is the agreement of the last m.

    Source: Chitta et al. 2019, Figure 2.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._first: Classes | None = None
        self._before: Classes | None = None
        self._agreed = np.ones(n, dtype=np.bool_)
        self._joint: list[int] = []
        self._pairs: list[int] = []

    def add(self, answers: Classes) -> None:
        """One more member.

        Args:
            answers: (n,) the class that it says of each sample.
        Raises:
            UsageError: not one for each sample.
        Cost: O(n).
        """
        if answers.shape != (self._n,):
            raise UsageError(f"a member must answer for all {self._n} samples, got shape {answers.shape}")
        if self._first is None or self._before is None:
            self._first = answers.copy()
        else:
            self._agreed &= answers == self._first
            self._pairs.append(int((answers == self._before).sum()))
        self._before = answers.copy()
        self._joint.append(int(self._agreed.sum()))

    @property
    def joint(self) -> tuple[int, ...]:
        """(m,) samples on which the first 1, 2, .. m members agree; never increasing."""
        return tuple(self._joint)

    @property
    def pairs(self) -> tuple[int, ...]:
        """(m - 1,) samples on which each member agrees with the one before it."""
        return tuple(self._pairs)

    @property
    def agreed(self) -> npt.NDArray[np.bool_]:
        """(n,) whether all members so far say the same."""
        return self._agreed.copy()
