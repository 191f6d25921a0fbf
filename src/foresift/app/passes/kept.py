"""What the store has of a few samples already; nothing is inferred for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import Model
from foresift.app.passes.stored import read_stored
from foresift.core.arrays import Logits
from foresift.core.predictions import Predictions, Producer
from foresift.core.protocols import PredictionStore


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLogits:
    """Logits of those of n digests that somebody looked at."""

    known: npt.NDArray[np.bool_]
    """(n,) whether somebody did; the rest has one row for each of these."""
    reasons: npt.NDArray[np.str_]
    """(k,) why an image gave none; "" = it gave some."""
    logits: Logits
    """(k, c)"""


def producer_of(predictions: Predictions) -> Producer | None:
    """Whose forward pass gave the logits of a pool, else its embeddings; None where there are neither."""
    column = predictions.columns.get("logits") or predictions.columns.get("embeddings")
    return None if column is None else column.producer


def kept_logits(store: PredictionStore, model: Model, producer: Producer, digests: npt.NDArray[np.str_]) -> KeptLogits:
    """The logits that a model with a head gave earlier.

    Args:
        store: one that is asked again need not read the list of what the producer made again.
        producer: as :func:`producer_of` gave it for a pass of the same model.
        digests: (n,) distinct or not.
    Cost: O(n log m) for m rows of the producer; n rows are read.
    """
    forward = replace(producer, stage=model.stage)  # logits of a head follow from rows of its backbone
    known = _among(digests, store.known(forward))
    if not known.any():
        nothing = np.zeros((0, len(model.generation.classes)), dtype=np.float32)
        return KeptLogits(known=known, reasons=np.empty(0, dtype=np.str_), logits=nothing)
    stored = read_stored(store, forward, digests[known], model, ("logits",))
    assert stored.logits is not None  # noqa: S101 - asked for in the line above
    return KeptLogits(known=known, reasons=stored.reasons, logits=stored.logits)


def _among(digests: npt.NDArray[np.str_], ascending: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """(n,) whether each is one of m; O(n log m), where ``np.isin`` would sort all m."""
    if not len(ascending):
        return np.zeros(len(digests), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, digests), len(ascending) - 1)
    return np.asarray(ascending[at] == digests)
