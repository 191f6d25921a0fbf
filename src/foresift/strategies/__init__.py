"""What chooses a batch: one strategy a file, a frozen dataclass with ``pick(query, rng)``."""

from foresift.selection.base import Strategy, spelling
from foresift.selection.registry import STRATEGIES, describe, parse, strategy

__all__ = ["STRATEGIES", "Strategy", "describe", "parse", "spelling", "strategy"]
