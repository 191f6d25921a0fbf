"""The bench of segmentation models: images chosen whole, by scores that their pixels add up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Embeddings, Pixels, Rows, Values, frozen
from foresift.core.errors import DataError, UnknownNameError
from foresift.core.masks import IGNORED, MaskClasses, resized
from foresift.core.predictions import Column, Predictions
from foresift.core.protocols import Progress
from foresift.core.segmentation import DenseTransform
from foresift.inference.decode import decode
from foresift.inference.dense_transform import load_dense
from foresift.inference.masks import decode_mask
from foresift.kernels.topk import top_k
from foresift.sources.read import fetch
from foresift.sources.segmentation import MaskedListing, masked_images
from foresift.stores.files import locked, require_room, write_atomically
from foresift.strategies import parse
from foresift.studies.learners import STUDY
from foresift.studies.masks.sets import SETS, mask_set
from foresift.studies.surrogates.benches import EARLY, LATE, Taught, few_labels
from foresift.studies.surrogates.development import held_out, rows_of
from foresift.studies.surrogates.protocol import DEVELOPMENT, RANDOM, TRUE_LOSS, Lessons, Protocol

Masks = npt.NDArray[np.int16]
PATCH, PATCHES = 32, 4
"""The score of an image by its most uncertain squares: the mean of the 4 largest of 32 x 32 pixels."""
CHUNK = 8
IN_MEMORY = 4 << 30
"""Bytes of pixels up to which a set is held in memory."""
THUMBNAIL = (18, 24)
"""Height and width of the small copies that ``auto`` looks at before there is a model."""
SCORES_OF = {"entropy": "entropy", "margin": "margin", "entropy-top4": "entropy-top4", TRUE_LOSS: "loss"}
"""Strategy to the score that it ranks by."""
ALONE = (RANDOM, EARLY)
"""Strategies that need no model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedArrays:
    """Images of one size with their masks, on disk or in memory."""

    pixels: Pixels
    """(n, h, w, 3)"""
    masks: Masks
    """(n, h, w) class codes; ``IGNORED`` where a pixel does not count."""


@dataclass(frozen=True, kw_only=True)
class DenseBench:
    """Segmentation networks, small ones from scratch or those of segmentation-models-pytorch."""

    pool: MaskedArrays
    test: MaskedArrays
    classes: MaskClasses
    lessons: Lessons
    encoders: Path | None = None
    """Folder of ``NAME.safetensors`` that encoders start from, for pretrained ones."""
    identity: str = ""
    measure: str = "mIoU"
    scores: tuple[str, ...] = ("entropy", "margin", "entropy-top4", "loss")

    @property
    def count(self) -> int:
        """n, images of the pool."""
        return len(self.pool.pixels)

    def teach(self, model: str, rows: Rows, *, seed: int, needs: Sequence[str] = ()) -> Taught:  # noqa: ARG002
        """A network from its own start; half of the images of a step are mirrored."""
        network = self._built(model, seed).to(self._device)
        self._train(network, rows, seed=seed)
        every: dict[str, Values] = {}

        def column(name: str) -> Callable[[], Values]:
            def get() -> Values:
                if not every:
                    every.update(self._looked_at(network))
                return every[name]

            return get

        return Taught(
            quality=self._miou(network, self.test, np.arange(len(self.test.pixels))),
            fit=self._miou(network, self.pool, rows),
            columns={name: column(name) for name in self.scores},
        )

    def values(self, taught: Taught, score: str) -> Values:
        """(n,) an image's mean pixel score, or that of its most uncertain squares."""
        return taught.columns[score]()

    def needs(self, strategy: str) -> tuple[str, ...]:
        """The score that a strategy ranks by.

        Raises:
            UnknownNameError: not known for images with masks.
        """
        if strategy in ALONE:
            return ()
        if strategy not in SCORES_OF:
            raise UnknownNameError("strategy for segmentation", strategy, (*SCORES_OF, *ALONE))
        return (SCORES_OF[strategy],)

    def resolve(self, known: Rows, *, seed: int) -> str:  # noqa: ARG002
        """``auto``: typical images until there are 5 labeled ones for each class, then margin by the surrogate."""
        return EARLY if few_labels(known, len(self.classes.classes)) else LATE

    def choose(self, strategy: str, taught: Taught | None, known: Rows, *, budget: int, seed: int) -> Rows:
        """The images of largest score, or those of a strategy that looks at thumbnails or at nothing."""
        if strategy in ALONE:
            chosen = parse(strategy)
            columns = {name: Column(values=frozen(self._thumbnails), producer=STUDY) for name in chosen.needs}
            view = Predictions(sample_ids=np.arange(self.count), columns=columns)
            return chosen.select(view, budget=budget, labeled=known, seed=seed).sample_ids.astype(np.intp)
        assert taught is not None  # noqa: S101 - whoever needs a score has a model
        left = np.setdiff1d(np.arange(self.count), known)
        return left[top_k(self.values(taught, SCORES_OF[strategy])[left], budget)].astype(np.intp)

    def _built(self, model: str, seed: int) -> Any:
        from foresift.models.segmentation import build_segmenter, load_encoder
        from foresift.studies.surrogates.tiny_unet import NAME, tiny_unet

        count = len(self.classes.classes)
        if model.startswith(f"{NAME}:"):
            return tiny_unet(model, classes=count, seed=seed)
        network = build_segmenter(model, classes=count, seed=seed)
        if self.lessons.pretrained:
            file = (self.encoders or Path("encoders")) / f"{model.partition(':')[2].removeprefix('timm:')}.safetensors"
            if not file.is_file():
                raise DataError(f"{file}: no such file; put timm's published weights there, or set pretrained: false")
            load_encoder(network, file)
        return network

    def _train(self, network: Any, rows: Rows, *, seed: int) -> None:
        import torch

        from foresift.studies.surrogates.lessons import optimise
        from foresift.training.segmentation_objectives import segmentation_loss

        weights = torch.ones(len(self.classes.classes), device=self._device)
        mirrors = np.random.default_rng([seed, 31])

        def step(batch: Any, _done: float, _number: int) -> Any:
            at = rows[batch.cpu().numpy()]
            images, codes = self._inputs(self.pool, at), self._codes(self.pool, at)
            if self.lessons.augment != "none":
                flips = torch.from_numpy(mirrors.random(len(at)) < 0.5).to(self._device)
                images = torch.where(flips[:, None, None, None], images.flip(3), images)
                codes = torch.where(flips[:, None, None], codes.flip(2), codes)
            return segmentation_loss(network(images).float(), codes, weights)

        optimise(network, step, count=len(rows), lessons=self.lessons, seed=seed)

    def _looked_at(self, network: Any) -> dict[str, Values]:
        """Every score of every image of the pool, in one pass."""
        import torch

        parts: dict[str, list[Any]] = {name: [] for name in self.scores}
        with torch.inference_mode():
            for start in range(0, self.count, CHUNK):
                at = np.arange(start, min(start + CHUNK, self.count))
                logits = network(self._inputs(self.pool, at)).float()
                for name, values in image_scores(logits, self._codes(self.pool, at)).items():
                    parts[name].append(values.cpu().numpy())
        return {name: np.concatenate(found).astype(np.float32) for name, found in parts.items()}

    def _miou(self, network: Any, images: MaskedArrays, rows: Rows) -> float:
        import torch

        from foresift.training.segmentation_metrics import confusion, segmentation_metrics

        c = len(self.classes.classes)
        counts = np.zeros((c, c), dtype=np.int64)
        with torch.inference_mode():
            for start in range(0, len(rows), CHUNK):
                at = rows[start : start + CHUNK]
                predicted = network(self._inputs(images, at)).argmax(dim=1)
                counts += confusion(predicted, self._codes(images, at), classes=c).cpu().numpy()
        return float(segmentation_metrics(counts)["miou"])

    def _inputs(self, images: MaskedArrays, rows: Rows) -> Any:
        import torch

        from foresift.training.augment import normalise

        return normalise(torch.from_numpy(np.ascontiguousarray(images.pixels[rows])).to(self._device), DenseTransform())

    def _codes(self, images: MaskedArrays, rows: Rows) -> Any:
        import torch

        return torch.from_numpy(images.masks[rows].astype(np.int64)).to(self._device)

    @cached_property
    def _thumbnails(self) -> Embeddings:
        """(n, d) small copies: what is known of an image before there is a model."""
        height, width = self.pool.pixels.shape[1:3]
        rows = (np.arange(THUMBNAIL[0]) * height) // THUMBNAIL[0]
        columns = (np.arange(THUMBNAIL[1]) * width) // THUMBNAIL[1]
        sums = []
        for start in range(0, self.count, CHUNK):
            pixels = np.asarray(self.pool.pixels[start : start + CHUNK], dtype=np.float32)
            sums.append(np.add.reduceat(np.add.reduceat(pixels, rows, axis=1), columns, axis=2))
        area = height * width / (len(rows) * len(columns))
        return np.asarray(np.concatenate(sums).reshape(self.count, -1) / (255.0 * area), dtype=np.float32)

    @cached_property
    def _device(self) -> Any:
        from foresift.studies.surrogates.lessons import device_of_study

        return device_of_study()


def image_scores(logits: Any, codes: Any) -> dict[str, Any]:
    """(b,) scores of (b, c, h, w) logits, by the formulas that score samples; the loss over pixels that count."""
    import torch
    from torch.nn import functional

    log_probs = torch.log_softmax(logits, dim=1)
    entropy = -(log_probs.exp() * log_probs).sum(dim=1)
    best = log_probs.exp().topk(2, dim=1).values
    counted = (codes != IGNORED).sum(dim=(1, 2)).clamp_min(1)
    loss = functional.nll_loss(log_probs, codes, ignore_index=IGNORED, reduction="none").sum(dim=(1, 2)) / counted
    squares = functional.avg_pool2d(entropy[:, None], PATCH, ceil_mode=True, count_include_pad=False).flatten(1)
    return {
        "entropy": entropy.mean(dim=(1, 2)),
        "margin": (1 - (best[:, 0] - best[:, 1])).mean(dim=(1, 2)),
        "entropy-top4": squares.topk(min(PATCHES, squares.shape[1]), dim=1).values.mean(dim=1),
        "loss": loss,
    }


def dense_bench(protocol: Protocol, folder: Path, data: Path, progress: Progress) -> DenseBench:
    """A set with masks, decoded once into files below ``folder``.

    Raises:
        DataError: the set is not there, or its masks do not say what their values mean.
    """
    listings = _listings(protocol.images, folder, data)
    classes = _classes(protocol.images, listings[0])

    def part(name: str, listing: MaskedListing) -> MaskedArrays:
        stem = folder / "images" / f"{protocol.images}-{name}-{protocol.side}"
        return _decoded(listing, classes, protocol, stem, progress)

    pool = part("pool", listings[0])
    if protocol.judged_on == DEVELOPMENT:
        pool, test = (
            MaskedArrays(pixels=rows_of(pool.pixels, rows), masks=rows_of(pool.masks, rows))
            for rows in held_out(len(pool.pixels))
        )
    else:
        test = part("test", listings[1])
    return DenseBench(pool=pool, test=test, classes=classes, lessons=protocol.recipe, encoders=data / "encoders")


def _listings(name: str, folder: Path, data: Path) -> tuple[MaskedListing, MaskedListing]:
    if name in SETS:
        found = mask_set(name, data, cache=folder / "images")
        return found.listing, masked_images(found.root, "test")
    root, split = data / name, {"ade20k": ("training", "validation")}.get(name, ("train", "val"))
    return masked_images(root, split[0]), masked_images(root, split[1])


def _classes(name: str, listing: MaskedListing) -> MaskClasses:
    if name in SETS:
        names, ignored = SETS[name]
        return MaskClasses.numbered(names.split(","), ignored=ignored)
    if listing.classes is None:
        raise DataError(f"{listing.name}: this layout does not say which values are classes; use cityscapes or ade20k")
    return listing.classes


def _decoded(
    listing: MaskedListing, classes: MaskClasses, protocol: Protocol, stem: Path, progress: Progress
) -> MaskedArrays:
    """Arrays of one size, made once; read from disk piece by piece where they are large."""
    files = stem.with_name(stem.name + "-pixels.npy"), stem.with_name(stem.name + "-masks.npy")
    with locked(stem.with_suffix(".lock")):
        if not all(file.exists() for file in files):
            _decode(listing, classes, protocol, files, progress)
    pixels, masks = (np.load(file, mmap_mode="r") for file in files)
    small = pixels.nbytes <= IN_MEMORY
    return MaskedArrays(pixels=np.array(pixels) if small else pixels, masks=np.array(masks) if small else masks)


def _decode(
    listing: MaskedListing, classes: MaskClasses, protocol: Protocol, files: tuple[Path, Path], progress: Progress
) -> None:
    height, width = _size(decode(fetch(listing.images[0])).shape[:2], protocol.side)
    transform, n = DenseTransform(size=(height, width)), len(listing.images)
    files[0].parent.mkdir(parents=True, exist_ok=True)
    size_bytes = n * height * width * (3 + np.dtype(np.int16).itemsize)
    require_room(files[0].parent, size_bytes, what=f"{listing.name} decoded to {width} x {height}")

    def fill(pixels_file: Path) -> None:
        def fill_masks(masks_file: Path) -> None:
            pixels = np.lib.format.open_memmap(pixels_file, "w+", np.uint8, (n, height, width, 3))
            masks = np.lib.format.open_memmap(masks_file, "w+", np.int16, (n, height, width))
            progress.start(f"decoding {listing.name}", n)
            for row in range(n):
                pixels[row] = load_dense(fetch(listing.images[row]), transform)
                values, _ = listing.masks[row].read(decode_mask)
                masks[row] = resized(classes.codes(values), height, width)
                progress.advance(1)
            progress.done()
            pixels.flush()
            masks.flush()

        write_atomically(files[1], fill_masks)

    write_atomically(files[0], fill)


def _size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of the inputs: those of the first image, its longer side ``side`` where one is given."""
    height, width = shape
    if not side:
        return height, width
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
