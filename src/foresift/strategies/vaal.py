"""The images that a discriminator is surest are not labeled yet (VAAL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foresift.core.arrays import Values
from foresift.core.errors import UsageError
from foresift.core.queries import Query
from foresift.core.ranges import check_at_least
from foresift.selection.by_value import ByValue
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class Vaal(ByValue):
    """The largest probability of being unlabeled, by a discriminator in the latent space of an autoencoder.

    Expensive: both are trained afresh for every selection. The parameters are those of the pass that
    makes the column ``unlabeled-probability``.
    Source: Sinha, Ebrahimi, Darrell 2019, *Variational Adversarial Active Learning*, algorithm 2.
    """

    name: ClassVar[str] = "vaal"
    aliases: ClassVar[tuple[str, ...]] = ("VAAL",)
    cite: ClassVar[str] = "Sinha et al. 2019, Variational Adversarial Active Learning"
    cost: ClassVar[str] = "O(n + k log k); making the column trains an autoencoder: minutes to hours on a CPU"
    when: ClassVar[str] = "to be compared with; a GPU at hand, and what is labeled may not cover the pool"
    needs: ClassVar[tuple[str, ...]] = ("unlabeled-probability",)

    steps: int = 1000
    batch: int = 64
    latent: int = 32
    beta: float = 1.0
    side: int = 32
    fit_seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, batch=self.batch, latent=self.latent)
        check_at_least(0, beta=self.beta, fit_seed=self.fit_seed)
        if self.side < 8 or self.side % 8:
            raise UsageError(f"side must be a multiple of 8 pixels, got {self.side}")

    def values(self, query: Query) -> Values:
        """(n,) the probability of being unlabeled."""
        probabilities: Values = query.column("unlabeled-probability")
        return probabilities
