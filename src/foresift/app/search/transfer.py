"""What was found for one architecture, tried on others: a random part, the found one, everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from foresift.stores.files import read_json, write_json

RANDOM, FOUND, FULL = "random", "found", "full"
PARTS = (RANDOM, FOUND, FULL)
Try = Callable[[str, str, int, Path], float]
"""(architecture, part, seed, new folder for the generation) -> accuracy on what is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Accuracies of one architecture, seed by seed, within [0, 1]."""

    model: str
    random: tuple[float, ...]
    """On random parts as large as the found one."""
    found: tuple[float, ...]
    full: tuple[float, ...]

    @property
    def gain(self) -> tuple[float, ...]:
        """Found less random, seed by seed."""
        return tuple(a - b for a, b in zip(self.found, self.random, strict=True))

    @property
    def gap(self) -> tuple[float, ...]:
        """Found less everything, seed by seed."""
        return tuple(a - b for a, b in zip(self.found, self.full, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain values with mean and standard deviation (n - 1; None for one seed), ready for JSON."""
        columns = {RANDOM: self.random, FOUND: self.found, FULL: self.full, "gain": self.gain, "gap": self.gap}
        return {"model": self.model, **{name: _spread(values) for name, values in columns.items()}}


def transfer(folder: Path, models: Sequence[str], seeds: int, try_one: Try) -> tuple[Transfer, ...]:
    """Every architecture on every part; what was tried before is read from ``folder``.

    Raises:
        ForesiftError: as ``try_one``.
    """
    return tuple(
        Transfer(
            model=model,
            **{part: tuple(_kept(folder, model, part, seed, try_one) for seed in range(seeds)) for part in PARTS},
        )
        for model in models
    )


def _kept(folder: Path, model: str, part: str, seed: int, try_one: Try) -> float:
    place = folder / model.replace(":", "-").replace("+", "-") / f"{part}-{seed}"
    result = place.with_suffix(".json")
    if not result.is_file():
        write_json(result, {"accuracy": try_one(model, part, seed, place)})
    known: Mapping[str, float] = read_json(result)
    return known["accuracy"]


def _spread(values: tuple[float, ...]) -> dict[str, Any]:
    return {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None, "seeds": list(values)}
