"""Predicted losses of whole images, where a segmentation model was trained with the module that predicts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from foresift.app.passes.stored import PassOptions
from foresift.app.pixels.models import DenseModel
from foresift.app.pixels.passes import DenseRows, dense_rows
from foresift.app.pixels.request import Dense
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_value
from foresift.core.errors import UsageError
from foresift.core.samples import Pool
from foresift.inference.loss_maps import LossMapSubject, PredictedLossMap
from foresift.strategies import Strategy

if TYPE_CHECKING:
    from foresift.models.segmentation import Segmenter

COLUMN = "predicted-loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossMapModel:
    """A segmentation model together with the module that predicts its loss."""

    model: DenseModel

    @property
    def key(self) -> str:
        """Digest of everything that the predicted losses depend on."""
        return digest_value([self.model.key, dict(self.model.generation.parts)])

    @property
    def transform_key(self) -> str:
        """As that of the model."""
        return self.model.transform_key

    def subject(self) -> LossMapSubject:
        """Both on a GPU where there is one.

        Raises:
            ModelError: the generation was trained without the module.
        """
        from foresift.models.loss_map import MAP_STRIDE, load_loss_map, loss_map_of

        dense = self.model.subject()
        module = load_loss_map(self.model.folder, self.model.generation).requires_grad_(False)
        module.to(next(dense.network.parameters()).device)
        predict = loss_map_of(cast("Segmenter", dense.network), module)
        return LossMapSubject(dense=dense, predict=predict, cell=MAP_STRIDE)


def predicted_losses(workspace: Workspace, pool: Pool, model: DenseModel, *, options: PassOptions) -> DenseRows:
    """A row for every usable image of a pool, one value each; as :func:`foresift.app.pixels.passes.dense_rows`.

    Raises:
        ModelError: the generation was trained without the module.
    """
    return dense_rows(workspace, pool, LossMapModel(model=model), PredictedLossMap(), options=options)


def refuse_patches(strategy: Strategy, dense: Dense) -> None:
    """Raise :class:`UsageError` where losses would be asked of patches: the module learned to rank whole images."""
    if dense.unit == "patch" and COLUMN in strategy.needs:
        raise UsageError(f"strategy {strategy.name}: losses are predicted of whole images; leave --unit patch out")
