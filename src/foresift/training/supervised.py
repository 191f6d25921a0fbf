"""Supervised training of a network on labeled images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.digests import digest_array, digest_value
from foresift.core.errors import ModelError, UsageError
from foresift.core.protocols import Progress, Silent
from foresift.training.augment import augment, normalise
from foresift.training.checkpoints import kept_epochs, resumable
from foresift.training.data import ArrayImages, Batch, Codes, check_codes, loader
from foresift.training.epochs import EpochModule, new_trainer
from foresift.training.isolation import isolated
from foresift.training.objectives import objective_of
from foresift.training.recipe import Recipe

Validation = tuple[ArrayImages, Codes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run did; the network itself was trained in place."""

    metrics: Mapping[str, float]
    """Of the last epoch: ``train_loss``, ``train_top1`` (running, augmented), ``val_loss``, ``val_top1``."""
    epochs: int
    seconds: float
    """Of this call; epochs done before an interruption are not in it."""
    resumed_from: int = 0
    """Epochs that were done already."""
    history: tuple[Mapping[str, float], ...] = ()
    """Metrics of every epoch."""
    notes: tuple[str, ...] = ()


def train(
    network: nn.Module,
    images: ArrayImages,
    codes: Codes,
    *,
    recipe: Recipe,
    seed: int,
    folder: Path,
    val: Validation | None = None,
    progress: Progress | None = None,
    resume: bool = True,
) -> TrainResult:
    """Train ``network`` in place; it ends on the CPU in evaluation mode.

    An interrupted run continues after its last whole epoch and ends with the same weights, bit for
    bit, on one machine with as many threads. The caller's random state stays as it was.

    Args:
        network: (b, 3, s, s) normalised images -> (b, c) logits.
        codes: (n,) class indices of the n images.
        folder: for checkpoints and ``metrics.csv``; made if absent.
        resume: continue from the folder's checkpoint if it belongs to this very run.
    Raises:
        UsageError, LabelError: nothing to learn from, or codes outside the network's classes.
        ModelError: the network takes no such images, or the loss is no longer finite.
    """
    if recipe.train != "all":
        raise UsageError("this recipe trains the head only: use fit_head on stored embeddings")
    notes = check_codes(codes, count=len(images), classes=count_classes(network, images))
    if val is not None:
        check_codes(val[1], count=len(val[0]), classes=count_classes(network, images))
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with isolated(seed):
        run = _run_digest(network, images, codes, recipe=recipe, seed=seed)
        module = _Supervised(network, images, recipe=recipe, seed=seed, run=run, progress=progress or Silent())
        checkpoint = resumable(folder, run=run) if resume else None
        _fit(module, images, codes, val=val, folder=folder, checkpoint=checkpoint)
    network.cpu().eval()
    return TrainResult(
        metrics=dict(module.history[-1]),
        epochs=len(module.history),
        seconds=time.perf_counter() - started,
        resumed_from=module.resumed_from,
        history=tuple(module.history),
        notes=notes,
    )


def count_classes(network: nn.Module, images: ArrayImages) -> int:
    """c, learned from one forward pass of one image.

    Raises:
        ModelError: the network can't take the images, or gives no (b, c) logits.
    """
    if not len(images):
        raise UsageError("no labeled image to train on")
    was_training = network.training
    weight = next(network.parameters())
    try:
        with torch.inference_mode():
            pixels = torch.from_numpy(images.batch(np.array([0])))
            logits = network.eval()(normalise(pixels, images.transform).to(weight.device))
    except RuntimeError as error:
        line = str(error).splitlines()[0][:160]
        raise ModelError(f"the network can't take {images.transform.size} pixel images: {line}") from None
    finally:
        network.train(was_training)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ModelError("the network must give one tensor of (batch, classes) logits")
    return int(logits.shape[1])


class _Supervised(EpochModule):
    """Cross-entropy on augmented batches; metrics summed on the device, read once an epoch."""

    def __init__(
        self,
        network: nn.Module,
        images: ArrayImages,
        *,
        recipe: Recipe,
        seed: int,
        run: str,
        progress: Progress,
    ) -> None:
        super().__init__(epochs=recipe.epochs, seed=seed, run=run, progress=progress)
        self.model = network
        self._transform = images.transform
        self._objective = objective_of(recipe)
        self._recipe = recipe
        self._sums: dict[str, Tensor] = {}

    def configure_optimizers(self) -> dict[str, Any]:
        """The recipe's optimizer, its rate set at every step by the recipe's closed form."""
        return self.scheduled(self.model, self._recipe, lambda step, total: self._recipe.lr_share(step, total=total))

    def on_train_epoch_start(self) -> None:
        """Dropout and the like depend on (seed, epoch), so that a resumed epoch repeats itself."""
        super().on_train_epoch_start()
        self._sums = {}

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The loss of one batch."""
        pixels = augment(batch.pixels, kind=self._recipe.augment, seed=(self._seed, batch.epoch, batch.number))
        done = self.current_epoch / self._recipe.epochs
        step = self._objective(self.model, normalise(pixels, self._transform), batch.codes, done)
        self._add("train", step.loss, step.logits, batch.codes)
        return step.total

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Sums of one validation batch."""
        logits = self.model(normalise(batch.pixels, self._transform)).float()
        self._add("val", functional.cross_entropy(logits, batch.codes), logits, batch.codes)

    def on_train_epoch_end(self) -> None:
        """Closes the epoch before its checkpoint is written, so that NaN weights never replace good ones."""
        row = {
            f"{part}_{name}": value for part in self._sums for name, value in _means(self._sums[part].tolist()).items()
        }
        self.close_epoch(row, lr=self._recipe.peak_lr)

    def _add(self, part: str, loss: Tensor, logits: Tensor, codes: Tensor) -> None:
        right = (logits.detach().argmax(1) == codes).sum()
        count = torch.tensor(float(len(codes)), device=loss.device)
        sums = torch.stack([loss.detach() * count, right.float(), count])
        self._sums[part] = self._sums[part] + sums if part in self._sums else sums


def _fit(
    module: _Supervised,
    images: ArrayImages,
    codes: Codes,
    *,
    val: Validation | None,
    folder: Path,
    checkpoint: Path | None,
) -> None:
    recipe = module._recipe
    batches = loader(images, codes, batch_size=recipe.batch_size, seed=module._seed)
    held_out = None if val is None else loader(*val, batch_size=4 * recipe.batch_size, seed=None)
    module.model.to(memory_format=torch.channels_last).train()
    if checkpoint is None:
        for left in kept_epochs(folder):  # of another run, which may have had more epochs
            left.unlink()
    trainer = new_trainer(
        module.model, folder, epochs=recipe.epochs, precision=recipe.precision, kept=recipe.kept_epochs
    )
    trainer.fit(module, batches, held_out, ckpt_path=checkpoint, weights_only=True)


def _means(sums: Sequence[float]) -> dict[str, float]:
    loss, right, count = sums
    return {"loss": loss / count, "top1": right / count}


def _run_digest(network: nn.Module, images: ArrayImages, codes: Codes, *, recipe: Recipe, seed: int) -> str:
    """What must be equal for a checkpoint to be this run's: start, data, transform, recipe and seed."""
    start = {name: tensor_digest(value) for name, value in network.state_dict().items()}
    return digest_value(
        {
            "start": start,
            "codes": digest_array(np.asarray(codes, dtype=np.int64)),
            "images": images.identity,
            "transform": images.transform.digest,
            "recipe": recipe.to_dict(),
            "seed": seed,
        }
    )


def tensor_digest(value: Tensor) -> str:
    """Content digest of one tensor, as float32."""
    return digest_array(np.atleast_1d(value.detach().cpu().float().contiguous().numpy()))
