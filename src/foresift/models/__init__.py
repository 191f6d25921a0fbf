"""Networks: architectures by name, embeddings, weights, generation folders."""

from foresift.models.embedding import (
    Backbone,
    EmbeddingModel,
    embedding_width,
    head_logits,
    head_of,
    replace_head,
    require_linear_head,
    with_embedding,
)
from foresift.models.generations import NO_HEAD_WIDTH, load_checkpoint, load_network, save_generation
from foresift.models.loss_prediction import load_loss_prediction, loss_predictor, with_loss_prediction
from foresift.models.registry import ARCHITECTURES, build, canonical, describe
from foresift.models.scoring import ScoringModule

__all__ = [
    "ARCHITECTURES",
    "NO_HEAD_WIDTH",
    "Backbone",
    "EmbeddingModel",
    "ScoringModule",
    "build",
    "canonical",
    "describe",
    "embedding_width",
    "head_logits",
    "head_of",
    "load_checkpoint",
    "load_loss_prediction",
    "load_network",
    "loss_predictor",
    "replace_head",
    "require_linear_head",
    "save_generation",
    "with_embedding",
    "with_loss_prediction",
]
