"""What the members of a network with dropout say of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import UsageError
from foresift.core.members import NARROW_MEMBERS, State, member_dtype
from foresift.core.ranges import check_at_least
from foresift.inference.columns.base import ColumnPass, PixelsToValues, Subject, column_pass

WORD = np.dtype("<u2")
"""States are stored as 16-bit words, each a whole number that float32 holds exactly."""


@column_pass
@dataclass(frozen=True, kw_only=True)
class DropoutStates(ColumnPass):
    """The state of ``draws`` members with dropout on, the same thinned networks for every image.

    Cost: ``draws`` forward passes; 4 (5 c + 3) bytes a row in the store.
    Source: Gal and Ghahramani 2016, *Dropout as a Bayesian Approximation*.
    """

    name: ClassVar[str] = "members"
    cite: ClassVar[str] = "Gal and Ghahramani 2016, Dropout as a Bayesian Approximation"

    draws: int = 20
    dropout_seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(2, draws=self.draws)  # one member agrees with itself about everything
        check_at_least(0, dropout_seed=self.dropout_seed)
        if self.draws > NARROW_MEMBERS:
            raise UsageError(f"draws must be at most {NARROW_MEMBERS}, got {self.draws}")

    def make(self, subject: Subject) -> PixelsToValues:
        """The states of a batch, (b, 5 c + 3).

        Raises:
            ModelError: the network has no dropout.
        """
        from foresift.inference.members import dropout_members

        members = dropout_members(subject.network, e=self.draws, seed=self.dropout_seed)

        def states(batch: Pixels) -> npt.NDArray[np.float32]:
            return words_of(members(batch))

        return states

    def column(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """(n,) the states."""
        return states_of(rows)


@column_pass
@dataclass(frozen=True, kw_only=True)
class DropoutLogits(ColumnPass):
    """What each of ``draws`` members with dropout on says, for strategies that look at members jointly.

    The same members as those of :class:`DropoutStates` with the same parameters.

    Cost: ``draws`` forward passes; 4 draws c bytes a row in the store.
    Source: Gal and Ghahramani 2016; Kirsch, van Amersfoort and Gal 2019 (the same masks for every image).
    """

    name: ClassVar[str] = "member-logits"
    cite: ClassVar[str] = DropoutStates.cite

    draws: int = 20
    dropout_seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(2, draws=self.draws)
        check_at_least(0, dropout_seed=self.dropout_seed)

    def make(self, subject: Subject) -> PixelsToValues:
        """The logits of a batch, member after member, (b, draws c).

        Raises:
            ModelError: the network has no dropout.
        """
        from foresift.inference.members import dropout_members

        members = dropout_members(subject.network, e=self.draws, seed=self.dropout_seed)
        return lambda batch: np.concatenate(list(members.logits(batch)), axis=1)

    def column(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """(n, draws, c) logits."""
        return rows.reshape(len(rows), self.draws, -1)


def words_of(state: State) -> npt.NDArray[np.float32]:
    """(n, 5 c + 3) the bytes of float32 states, two in a number."""
    return np.ascontiguousarray(state).view(WORD).reshape(len(state), -1).astype(np.float32)


def states_of(rows: npt.NDArray[np.float32]) -> State:
    """Inverse of :func:`words_of`, to the last bit."""
    kind = member_dtype((rows.shape[1] - 3) // 5)
    words = np.ascontiguousarray(rows.astype(WORD))
    states: State = words.view(kind)[:, 0] if len(words) else np.empty(0, dtype=kind)
    return states
