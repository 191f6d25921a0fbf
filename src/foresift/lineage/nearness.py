"""Frames that look like one that was kept a moment ago."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Embeddings

MEMORY = 16
"""Kept frames that a new one is compared with: the last so many."""
_SAMPLE = 1000
_SHARE = 0.01


@dataclass(slots=True)
class RecentFrames:
    """The embeddings of the last frames that were kept; memory does not grow. O(memory d) a look."""

    min_distance: float
    """Cosine distance, within [0, 2], below which two frames count as the same."""
    _keys: list[str] = field(default_factory=list)
    _unit: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def near(self, embedding: npt.NDArray[np.float32]) -> str | None:
        """The key of the nearest kept frame if it is nearer than ``min_distance``, else None."""
        if not self._keys:
            return None
        distances = 1 - np.stack(self._unit) @ _normalised(embedding)
        nearest = int(distances.argmin())
        return self._keys[nearest] if distances[nearest] < self.min_distance else None

    def keep(self, key: str, embedding: npt.NDArray[np.float32]) -> None:
        """Remember a frame; the oldest is forgotten."""
        self._keys = [*self._keys, key][-MEMORY:]
        self._unit = [*self._unit, _normalised(embedding)][-MEMORY:]

    def forget(self, key: str) -> None:
        """A frame is kept no longer; what resembles it repeats nothing."""
        kept = [at for at, known in enumerate(self._keys) if known != key]
        self._keys, self._unit = [self._keys[at] for at in kept], [self._unit[at] for at in kept]


def calibrated_distance(embeddings: Embeddings) -> float:
    """Half of the cosine distance below which only one in a hundred samples has a neighbour.

    Two different pictures of a pool nearly never lie so close, two looks at one scene do.

    Args:
        embeddings: (n, d); evenly spread rows of them are compared. O(m^2 d), m = min(n, 1000).
    """
    rows = np.asarray(embeddings[:: max(1, len(embeddings) // _SAMPLE)][:_SAMPLE], dtype=np.float32)
    if len(rows) < 2:
        return 0.0
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    nearest = np.maximum(1 - similar.max(axis=1), 0)
    return float(np.quantile(nearest, _SHARE)) / 2


def _normalised(embedding: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = float(np.linalg.norm(embedding))
    return np.asarray(embedding / length if length > 0 else embedding, dtype=np.float32)
