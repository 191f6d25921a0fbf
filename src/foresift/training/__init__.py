"""Recipes that turn labeled images or stored embeddings into trained networks, and how good they are."""

from foresift.training.data import ArrayImages
from foresift.training.head import fit_head
from foresift.training.metrics import evaluate
from foresift.training.recipe import Recipe
from foresift.training.supervised import TrainResult, train

__all__ = ["ArrayImages", "Recipe", "TrainResult", "evaluate", "fit_head", "train"]
