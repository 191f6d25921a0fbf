"""What the store has of a few samples already; nothing is inferred for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import Model
from foresift.app.passes.stored import read_stored
from foresift.app.workspace import Workspace
from foresift.core.arrays import Logits
from foresift.core.predictions import Predictions, Producer


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


def kept_logits(workspace: Workspace, model: Model, producer: Producer, digests: npt.NDArray[np.str_]) -> KeptLogits:
    """The logits that a model with a head gave earlier.

    Args:
        producer: as :func:`producer_of` gave it for a pass of the same model.
        digests: (n,) distinct or not.
    Cost: O(n) rows are read, and the list of what the producer made.
    """
    forward = replace(producer, stage=model.stage)  # logits of a head follow from rows of its backbone
    store = workspace.predictions()
    known = np.isin(digests, store.known(forward))
    if not known.any():
        nothing = np.zeros((0, len(model.generation.classes)), dtype=np.float32)
        return KeptLogits(known=known, reasons=np.empty(0, dtype=np.str_), logits=nothing)
    stored = read_stored(store, forward, digests[known], model, ("logits",))
    assert stored.logits is not None  # noqa: S101 - asked for in the line above
    return KeptLogits(known=known, reasons=stored.reasons, logits=stored.logits)
