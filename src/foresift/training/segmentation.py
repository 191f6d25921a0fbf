"""Training of a segmentation network on images with class masks, whole or partly labeled."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.arrays import Pixels
from foresift.core.digests import digest_value
from foresift.core.errors import ModelError, UsageError
from foresift.core.masks import ClassCounts, Mask
from foresift.core.protocols import Progress, Silent
from foresift.core.segmentation import DenseTransform
from foresift.training.augment import normalise
from foresift.training.checkpoints import resumable
from foresift.training.epochs import EpochModule, new_trainer
from foresift.training.isolation import isolated
from foresift.training.masked_images import MaskedBatch, MaskedImages, batches
from foresift.training.segmentation_metrics import Confusion, confusion, segmentation_metrics
from foresift.training.segmentation_objectives import segmentation_loss, segmentation_objective
from foresift.training.segmentation_recipe import SegmentationRecipe
from foresift.training.supervised import TrainResult, tensor_digest

RESIZED_VALUES = 1 << 26
"""Logits held at the size of a mask at one time."""


def train_segmenter(
    network: nn.Module,
    images: MaskedImages,
    *,
    pixels: Sequence[int],
    recipe: SegmentationRecipe,
    seed: int,
    folder: Path,
    val: MaskedImages | None = None,
    progress: Progress | None = None,
    resume: bool = True,
) -> TrainResult:
    """Train ``network`` in place; it ends on the CPU in evaluation mode.

    An interrupted run continues after its last whole epoch and ends with the same weights, bit for
    bit, on one machine with as many threads. A pixel whose code is ``IGNORED`` trains nothing, though
    the network sees it.

    Args:
        network: (b, 3, h, w) normalised images -> (b, c, h, w) logits.
        pixels: (c,) labeled pixels of each class in ``images``, for class weights.
        folder: for checkpoints and ``metrics.csv``; made if absent.
        resume: continue from the folder's checkpoint if it belongs to this very run.
    Returns: metrics ``train_loss``, ``train_miou``, ``train_pixel_accuracy`` (running, on what steps saw) and
        the same of ``val`` at the size of the model's input.
    Raises:
        UsageError: nothing to learn from.
        ModelError: the network takes no such images, or the loss is no longer finite.
    """
    if not len(images) or not sum(pixels):
        raise UsageError("no labeled pixel to train on")
    _check_output(network, images, classes=len(pixels))
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with isolated(seed):
        run = _run_digest(network, images, pixels, recipe=recipe, seed=seed)
        weights = class_weights(recipe.class_weights, pixels)
        module = _Segmentation(
            network, images, weights=weights, recipe=recipe, seed=seed, run=run, progress=progress or Silent()
        )
        checkpoint = resumable(folder, run=run) if resume else None
        _fit(module, images, val=val, folder=folder, checkpoint=checkpoint)
    network.cpu().eval()
    return TrainResult(
        metrics=dict(module.history[-1]),
        epochs=len(module.history),
        seconds=time.perf_counter() - started,
        resumed_from=module.resumed_from,
        history=tuple(module.history),
        notes=_notes(pixels),
    )


def class_weights(kind: str, pixels: Sequence[int]) -> Tensor:
    """(c,) weights of the classes, float32: 1 each, or under ``balanced`` n / (classes that occur * n of the class).

    The mean weight of a labeled pixel is 1 both ways; a class without pixels weighs 1, which never counts.
    """
    if kind == "none":
        return torch.ones(len(pixels))
    counts = np.asarray(pixels, dtype=np.float64)
    present = counts > 0
    weights = np.ones(len(pixels))
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return torch.from_numpy(weights.astype(np.float32))


def evaluate_segmenter(network: nn.Module, images: MaskedImages, truth: Any, *, classes: int) -> Confusion:
    """(c, c) pixel counts, [true][predicted], at the size of the true masks: logits are resized to it, bilinear.

    So models with inputs of different sizes are measured alike.

    Args:
        network: in evaluation mode, on the device to compute on.
        truth: row -> (h, w) codes in their own size.
    """
    device = next(network.parameters()).device
    counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    for one in _confusions(network, images, truth, classes=classes):
        counts += one
    table: Confusion = counts.cpu().numpy()
    return table


def measure_each(network: nn.Module, images: MaskedImages, truth: Any, *, classes: int) -> ClassCounts:
    """What :func:`evaluate_segmenter` counts, image by image; with its arguments."""
    tables = _confusions(network, images, truth, classes=classes)
    counts = torch.stack([torch.stack([one.diagonal(), one.sum(dim=1), one.sum(dim=0)]) for one in tables])
    each: ClassCounts = counts.cpu().numpy()
    return each


def _confusions(network: nn.Module, images: MaskedImages, truth: Any, *, classes: int) -> Iterator[Tensor]:
    """(c, c) pixel counts of one image after the other, on the network's device."""
    device = next(network.parameters()).device
    for row in range(len(images)):
        pixels, _ = images.pair(row)
        codes = torch.from_numpy(np.ascontiguousarray(truth(row))).long().to(device)
        yield confusion(_predicted(network, pixels, images.transform, codes.shape), codes, classes=classes)


def predicted_codes(network: nn.Module, pixels: Pixels, transform: DenseTransform, size: Sequence[int]) -> Mask:
    """(h, w) class codes of an image at this size, as :func:`evaluate_segmenter` counts them.

    Args:
        network: in evaluation mode, on the device to compute on.
        pixels: (., ., 3) at the size of the network's input.
    """
    codes: Mask = _predicted(network, pixels, transform, size).cpu().numpy().astype(np.int16)
    return codes


def _predicted(network: nn.Module, pixels: Pixels, transform: DenseTransform, size: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        batch = torch.from_numpy(pixels[None]).to(next(network.parameters()).device)
        return _most_likely(network(normalise(batch, transform)).float(), size)


def _most_likely(logits: Tensor, size: Sequence[int]) -> Tensor:
    """(h, w) class of the highest of (1, c, ., .) logits resized to (h, w), ties to the lower class.

    Some classes at a time: all of them at the size of a large mask may not fit the memory.
    """
    step = max(1, RESIZED_VALUES // (size[0] * size[1]))
    best = torch.full(tuple(size), -torch.inf, device=logits.device)
    chosen = torch.zeros(tuple(size), dtype=torch.int64, device=logits.device)
    for start in range(0, logits.shape[1], step):
        some = functional.interpolate(logits[:, start : start + step], size=tuple(size), mode="bilinear")[0]
        value, at = some.max(dim=0)
        better = value > best
        best, chosen = torch.where(better, value, best), torch.where(better, at + start, chosen)
    return chosen


class _Segmentation(EpochModule):
    """Cross-entropy over labeled pixels; sums stay on the device and are read once an epoch."""

    def __init__(
        self,
        network: nn.Module,
        images: MaskedImages,
        *,
        weights: Tensor,
        recipe: SegmentationRecipe,
        seed: int,
        run: str,
        progress: Progress,
    ) -> None:
        super().__init__(epochs=recipe.epochs, seed=seed, run=run, progress=progress)
        self.model = network
        self._transform, self._recipe = images.transform, recipe
        self._objective = segmentation_objective(recipe)
        self.register_buffer("weights", weights, persistent=False)
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}

    def configure_optimizers(self) -> dict[str, Any]:
        """The recipe's optimizer, its rate set at every step by the recipe's closed form."""
        return self.scheduled(self.model, self._recipe, self._recipe.lr_share)

    def on_train_epoch_start(self) -> None:
        """Starts the sums anew."""
        super().on_train_epoch_start()
        self._sums = {}

    def training_step(self, batch: MaskedBatch, _index: int) -> Tensor:
        """The loss of one batch."""
        done = self.current_epoch / self._recipe.epochs
        step = self._objective(self.model, self._images(batch), batch.codes, self.weights, done)
        self._add("train", step.loss.detach(), step.logits.detach(), batch.codes)
        return step.total

    def validation_step(self, batch: MaskedBatch, _index: int) -> None:
        """Sums of one validation batch."""
        logits = self.model(self._images(batch)).float()
        self._add("val", segmentation_loss(logits, batch.codes, self.weights), logits, batch.codes)

    def on_train_epoch_end(self) -> None:
        """Closes the epoch before its checkpoint is written."""
        row = {f"{part}_{name}": value for part in self._sums for name, value in _means(*self._sums[part]).items()}
        self.close_epoch(row, lr=self._recipe.peak_lr)

    def _images(self, batch: MaskedBatch) -> Tensor:
        return normalise(batch.pixels, self._transform).contiguous(memory_format=torch.channels_last)

    def _add(self, part: str, loss: Tensor, logits: Tensor, codes: Tensor) -> None:
        counts = confusion(logits.argmax(1), codes, classes=logits.shape[1])
        before = self._sums.get(part)
        weighed = loss * counts.sum()
        self._sums[part] = (weighed, counts) if before is None else (before[0] + weighed, before[1] + counts)


def _fit(
    module: _Segmentation, images: MaskedImages, *, val: MaskedImages | None, folder: Path, checkpoint: Path | None
) -> None:
    recipe = module._recipe
    steps = batches(images, batch_size=recipe.batch_size, seed=module._seed, crop=recipe.crop, flip=recipe.flip)
    held_out = None if val is None else batches(val, batch_size=recipe.batch_size, seed=None)
    module.model.to(memory_format=torch.channels_last).train()
    trainer = new_trainer(module.model, folder, epochs=recipe.epochs, precision=recipe.precision)
    trainer.fit(module, steps, held_out, ckpt_path=checkpoint, weights_only=True)


def _check_output(network: nn.Module, images: MaskedImages, *, classes: int) -> None:
    """One image now rather than a surprise in the first step."""
    pixels, mask = images.pair(0)
    was_training = network.training
    try:
        with torch.inference_mode():
            logits = network.eval()(normalise(torch.from_numpy(pixels[None]), images.transform))
    except RuntimeError as error:
        line = str(error).splitlines()[0][:160]
        raise ModelError(f"the network can't take images of {mask.shape[1]}x{mask.shape[0]} pixels: {line}") from None
    finally:
        network.train(was_training)
    if logits.shape != (1, classes, *mask.shape):
        raise ModelError(f"the network gives {tuple(logits.shape)}, expected logits of (1, {classes}, *{mask.shape})")


def _means(weighed: Tensor, counts: Tensor) -> dict[str, float]:
    table: npt.NDArray[np.int64] = counts.cpu().numpy()
    if not table.sum():
        raise ModelError("no step of the epoch saw a labeled pixel; use a larger crop, or whole images")
    measured = segmentation_metrics(table)
    loss = float(weighed) / int(table.sum())
    return {"loss": loss, "miou": measured["miou"], "pixel_accuracy": measured["pixel_accuracy"]}


def _notes(pixels: Sequence[int]) -> tuple[str, ...]:
    absent = [code for code, count in enumerate(pixels) if not count]
    shown = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
    return (f"{len(absent)} of {len(pixels)} classes have no pixel to learn from (codes {shown})",) if absent else ()


def _run_digest(
    network: nn.Module, images: MaskedImages, pixels: Sequence[int], *, recipe: SegmentationRecipe, seed: int
) -> str:
    """What must be equal for a checkpoint to be this run's: start, data, transform, recipe and seed."""
    return digest_value(
        {
            "start": {name: tensor_digest(value) for name, value in network.state_dict().items()},
            "images": images.identity,
            "pixels": list(pixels),
            "transform": images.transform.digest,
            "recipe": recipe.to_dict(),
            "seed": seed,
        }
    )
