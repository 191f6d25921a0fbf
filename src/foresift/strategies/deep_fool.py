"""The images that the least change would give another class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foresift.core.arrays import Values
from foresift.core.queries import Query
from foresift.core.ranges import check_at_least, check_within
from foresift.selection.by_value import ByValue
from foresift.selection.registry import strategy


@strategy
@dataclass(frozen=True, kw_only=True)
class DeepFool(ByValue):
    """The smallest distances to a decision boundary, as DeepFool finds them: score = minus the distance.

    The parameters are those of the pass that makes the column ``flip-distance``.
    Source: Ducoffe and Precioso 2018, *Adversarial Active Learning for Deep Networks* (DFAL), section 3;
    the paper adds the perturbed images to the training set as well, which is left to the user.
    """

    name: ClassVar[str] = "deep-fool"
    aliases: ClassVar[tuple[str, ...]] = ("DFAL", "AdversarialDeepFool")
    cite: ClassVar[str] = "Ducoffe and Precioso 2018; Moosavi-Dezfooli et al. 2016"
    cost: ClassVar[str] = "O(n + k log k) once the distances are there: up to steps x (competitors + 2) passes an image"
    when: ClassVar[str] = "small networks and pools, where the distance to the boundary is worth gradients"
    needs: ClassVar[tuple[str, ...]] = ("flip-distance",)

    steps: int = 20
    competitors: int = 9
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, competitors=self.competitors)
        check_within(0, 1, overshoot=self.overshoot)

    def values(self, query: Query) -> Values:
        """(n,) minus the distance in pixel levels."""
        distances: Values = query.column("flip-distance")
        return -distances
