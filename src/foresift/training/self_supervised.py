"""Self-supervised training of a backbone on unlabeled images: SimCLR (Chen et al. 2020)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.arrays import Embeddings
from foresift.core.digests import digest_array, digest_value
from foresift.core.errors import ModelError, UsageError
from foresift.core.protocols import Progress, Silent
from foresift.training.augment import normalise
from foresift.training.checkpoints import RUN_KEY, resumable
from foresift.training.data import ArrayImages, Batch, Codes, loader
from foresift.training.epochs import new_trainer
from foresift.training.isolation import isolated, seed_all
from foresift.training.supervised import tensor_digest
from foresift.training.views import PRESETS, two_views

MONITORED = 2_000
"""Images that the neighbour monitor looks at."""
NEIGHBOURS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SimClr:
    """How a backbone is trained without labels."""

    epochs: int = 200
    batch_size: int = 512
    lr: float = 1e-3
    """Of AdamW, at its highest: after a tenth of the steps; a cosine leads down to zero."""
    weight_decay: float = 1e-4
    temperature: float = 0.2
    projection: int = 128
    """Width of the projection that the loss sees; embeddings are what enters it."""
    views: str = "colour"
    patience: int = 0
    """Stop after so many epochs in which the monitor did not improve; 0 = never."""
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.views not in PRESETS:
            raise UsageError(f"views must be one of {', '.join(PRESETS)}, got {self.views!r}")
        if self.epochs < 1 or self.batch_size < 2 or self.patience < 0 or self.projection < 1:
            raise UsageError("epochs and projection must be 1 or more, batch_size 2 or more, patience 0 or more")
        if not (self.lr > 0 and self.temperature > 0 and self.weight_decay >= 0):
            raise UsageError("lr and temperature must be above 0, weight_decay 0 or more")


SMALL = SimClr(epochs=20, batch_size=256, lr=2e-3)
"""For small images and networks: minutes on two cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfSupervised:
    """What a run did; the backbone itself was trained in place."""

    history: tuple[Mapping[str, float], ...]
    """Of every epoch: ``loss``, ``agreement`` (share of views whose partner is the nearest of the
    batch) and, with labels, ``neighbours`` (leave-one-out accuracy of the 20 nearest neighbours)."""
    seconds: float
    stopped_early: bool = False
    resumed_from: int = 0


def train_simclr(
    backbone: nn.Module,
    images: ArrayImages,
    *,
    recipe: SimClr,
    seed: int,
    folder: Path,
    labels: Codes | None = None,
    progress: Progress | None = None,
) -> SelfSupervised:
    """Train ``backbone`` in place; it ends on the CPU in evaluation mode.

    An interrupted run continues after its last whole epoch.

    Args:
        backbone: (b, 3, s, s) normalised images -> (b, d) embeddings.
        labels: (n,) class codes, -1 where unknown: only to watch the neighbours, never to train.
        folder: for checkpoints and ``metrics.csv``; made if absent.
    Raises:
        UsageError: fewer than two images.
        ModelError: the loss is no longer finite.
    Cost: two forward and backward passes an image and epoch.
    """
    if len(images) < 2:
        raise UsageError(f"self-supervised training compares images with each other: at least 2, got {len(images)}")
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with isolated(seed):
        run = _run_digest(backbone, images, recipe, seed)
        module = _SimClr(backbone, images, recipe=recipe, seed=seed, run=run, labels=labels, progress=progress)
        _fit(module, images, folder, resumable(folder, run=run))
    backbone.cpu().eval()
    return SelfSupervised(
        history=tuple(module.history),
        seconds=time.perf_counter() - started,
        stopped_early=len(module.history) < recipe.epochs,
        resumed_from=module.resumed_from,
    )


def embed(backbone: nn.Module, images: ArrayImages, *, batch: int = 256) -> Embeddings:
    """(n, d) float32 embeddings of unchanged images, in evaluation mode."""
    device = next(backbone.parameters()).device
    was_training, parts = backbone.training, []
    backbone.eval()
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            rows = np.arange(start, min(start + batch, len(images)))
            pixels = torch.from_numpy(images.batch(rows)).to(device)
            parts.append(backbone(normalise(pixels, images.transform)).float().cpu().numpy())
    backbone.train(was_training)
    return np.concatenate(parts)


def neighbour_accuracy(embeddings: Embeddings, codes: Codes, *, k: int = NEIGHBOURS) -> float:
    """Share of rows whose k nearest others (cosine) mostly have their class; ties go to the lower code.

    Args:
        embeddings: (n, d), n >= 2; O(n^2) memory, so a few thousand rows.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    near = np.argsort(-similar, axis=1, kind="stable")[:, : min(k, len(unit) - 1)]
    votes = np.zeros((len(unit), int(codes.max()) + 1))
    np.add.at(votes, (np.arange(len(unit))[:, None], codes[near]), 1)
    return float((votes.argmax(axis=1) == codes).mean())


class _SimClr(pl.LightningModule):
    """NT-Xent between two views of a batch; the projection is thrown away afterwards."""

    def __init__(
        self,
        backbone: nn.Module,
        images: ArrayImages,
        *,
        recipe: SimClr,
        seed: int,
        run: str,
        labels: Codes | None,
        progress: Progress | None,
    ) -> None:
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        self.backbone = backbone
        width = embed(backbone, images.first()).shape[1]
        self.projection = SimCLRProjectionHead(width, width, recipe.projection)
        self.history: list[dict[str, float]] = []
        self.resumed_from = 0
        self._loss = NTXentLoss(temperature=recipe.temperature)
        self._images, self._recipe, self._seed, self._run = images, recipe, seed, run
        self._watched = _watched(labels)
        self._progress = progress or Silent()
        self._sums = torch.zeros(3)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; a linear rise over a tenth of the steps, then a cosine to zero."""
        total = int(self.trainer.estimated_stepping_batches)
        optimizer = torch.optim.AdamW(self.parameters(), lr=self._recipe.lr, weight_decay=self._recipe.weight_decay)
        rise = max(1, total // 10)

        def share(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (step - rise) / max(1, total - rise)))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Tells how far an earlier, interrupted call had come."""
        self._progress.start("self-supervised training", self._recipe.epochs)
        self._progress.advance(self.resumed_from)

    def on_train_epoch_start(self) -> None:
        """A resumed epoch repeats itself."""
        seed_all(self._seed, self.current_epoch)
        self._sums = torch.zeros(3)

    def training_step(self, batch: Batch, _index: int) -> Tensor | None:
        """The loss of one batch; a last batch of one image has nothing to be compared with."""
        if len(batch.pixels) < 2:
            return None
        seed = (self._seed, batch.epoch, batch.number)
        views = torch.cat(two_views(batch.pixels, preset=self._recipe.views, seed=seed))
        mean = torch.tensor(self._images.transform.mean, device=views.device).view(1, 3, 1, 1)
        std = torch.tensor(self._images.transform.std, device=views.device).view(1, 3, 1, 1)
        inputs = ((views - mean) / std).contiguous(memory_format=torch.channels_last)
        first, second = self.projection(self.backbone(inputs).float()).chunk(2)
        loss: Tensor = self._loss(first, second)
        self._sums += _batch_sums(loss, first, second).cpu()
        return loss

    def on_train_epoch_end(self) -> None:
        """Closes the epoch before its checkpoint is written."""
        loss, agreed, count = self._sums.tolist()
        row = {"loss": loss / max(1.0, count), "agreement": agreed / max(1.0, count)}
        if not np.isfinite(row["loss"]):
            raise ModelError(f"the self-supervised loss is no longer finite; use a smaller lr than {self._recipe.lr:g}")
        if self._watched is not None:
            rows, codes = self._watched
            row["neighbours"] = neighbour_accuracy(embed(self.backbone, self._images.some(rows)), codes)
        self.history.append(row)
        self.logger.log_metrics({"epoch": self.current_epoch, **row}, step=self.current_epoch)
        self.logger.save()
        self._progress.advance(1)
        if self._stalled():
            self.trainer.should_stop = True

    def on_fit_end(self) -> None:
        """The last word to the progress display."""
        self._progress.done(", ".join(f"{name} {value:.3f}" for name, value in self.history[-1].items()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Which run this is, and what it has seen."""
        checkpoint[RUN_KEY] = self._run
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the history of the epochs that are done."""
        self.history = list(checkpoint["history"])
        self.resumed_from = len(self.history)

    def _stalled(self) -> bool:
        """Whether the monitor (neighbours, else agreement) stopped improving."""
        if not self._recipe.patience:
            return False
        name = "neighbours" if self._watched is not None else "agreement"
        seen = [row[name] for row in self.history]
        return len(seen) - 1 - int(np.argmax(seen)) >= self._recipe.patience


def _batch_sums(loss: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Loss times b, views of the first half whose partner is nearest, b."""
    with torch.no_grad():
        a, b = functional.normalize(first, dim=1), functional.normalize(second, dim=1)
        right = ((a @ b.T).argmax(dim=1) == torch.arange(len(a), device=a.device)).sum()
        return torch.stack([loss.detach() * len(a), right.float(), torch.tensor(float(len(a)), device=a.device)])


def _watched(labels: Codes | None) -> tuple[npt.NDArray[np.intp], Codes] | None:
    """Up to ``MONITORED`` labeled rows, spread evenly, and their codes; None with fewer than two."""
    if labels is None:
        return None
    known = np.flatnonzero(np.asarray(labels) >= 0)
    rows = known[:: max(1, len(known) // MONITORED)][:MONITORED]
    return (rows, np.asarray(labels)[rows]) if len(rows) > 1 else None


def _fit(module: _SimClr, images: ArrayImages, folder: Path, checkpoint: Path | None) -> None:
    recipe = module._recipe
    batches = loader(images, np.zeros(len(images), dtype=np.int64), batch_size=recipe.batch_size, seed=module._seed)
    module.to(memory_format=torch.channels_last).train()
    trainer = new_trainer(module.backbone, folder, epochs=recipe.epochs, precision=recipe.precision)
    trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)


def _run_digest(backbone: nn.Module, images: ArrayImages, recipe: SimClr, seed: int) -> str:
    """What must be equal for a checkpoint to be this run's."""
    start = {name: tensor_digest(value) for name, value in backbone.state_dict().items()}
    sample = digest_array(images.batch(np.arange(min(2, len(images)))))
    told = [images.identity, len(images), sample, images.transform.digest]
    return digest_value({"start": start, "images": told, "recipe": asdict(recipe), "seed": seed, "task": "simclr"})
