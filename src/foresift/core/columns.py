"""The columns that Foresift knows by name, and how a pool gets each of them."""

from __future__ import annotations

from collections.abc import Iterable

HOW_TO_GET = {
    "logits": "predict with a model, or give logits to Predictions.from_arrays",
    "embeddings": "predict with a model, or give embeddings to Predictions.from_arrays",
    "members": "select POOL with several --model, --checkpoints, or one model with dropout; or give member_logits",
    "member-logits": "as members, by select POOL; or give member_logits",
    "groups": "give a manifest or a predictions file with a column group, or groups= in Python",
    "flip-distance": "select POOL --model DIR makes it, with gradients of the model",
    "deviations": "select POOL --model DIR makes it, with noise on the model's weights",
    "patch-grid": "select POOL --model DIR makes it, by a segmentation model",
    "predicted-loss": "select POOL --model DIR makes it, by a model of foresift train --loss-prediction",
    "unlabeled-probability": "select POOL --model DIR --labeled FILE makes it, by a discriminator trained on the pool",
    "gcn-embeddings": "give embeddings and labeled ids: a graph network is trained on them",
}
"""What to do when a column is missing."""


def missing_column(name: str, have: Iterable[str]) -> str:
    """One line: which column is missing, which there are, how to get it."""
    how = HOW_TO_GET.get(name, "give a column of that name")
    return f"this needs the column {name}; the predictions have {', '.join(have) or 'no columns'}; to get it: {how}"
