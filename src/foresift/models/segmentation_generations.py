"""Segmentation generations as folders: the same files as those of classifiers, with another record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foresift.core.digests import digest_bytes
from foresift.core.masks import MaskClasses
from foresift.core.segmentation import DenseTransform, SegmentationGeneration
from foresift.models import weights
from foresift.models.generations import WEIGHTS_FILE, installed_version, record_json, recorded_weights, write_folder
from foresift.models.segmentation import Segmenter, assemble_segmenter, canonical_segmenter


def save_segmenter(
    folder: Path,
    network: Segmenter,
    *,
    architecture: str,
    classes: MaskClasses,
    transform: DenseTransform,
    parent: str | None = None,
    data: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    seed: int = 0,
    metrics: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
    parts: Mapping[str, nn.Module] | None = None,
) -> SegmentationGeneration:
    """The record of a trained network, once it lies in ``folder`` complete; saving it twice is harmless.

    Args:
        folder: absent or empty; its parent is made.
        files: more files that belong into the folder, by their path in it; the originals stay.
        parts: modules that were trained beside the network; each is kept as ``NAME.safetensors``.
    Raises:
        ModelError: the folder holds something else, weights are not finite, values are not plain JSON.
    """
    for module in (network, *(parts or {}).values()):
        weights.check_finite(module.state_dict(), where=folder)
    blob = weights.serialise(network)
    blobs = {name: weights.serialise(module) for name, module in (parts or {}).items()}
    generation = SegmentationGeneration(
        architecture=canonical_segmenter(architecture),
        classes=classes.classes,
        values=classes.values,
        ignored=classes.ignored,
        transform=transform,
        weights=digest_bytes(blob),
        embedding_width=network.embedding_width,
        parent=parent,
        data=dict(data or {}),
        recipe=dict(recipe or {}),
        seed=seed,
        metrics=dict(metrics or {}),
        foresift=installed_version(),
        parts={name: digest_bytes(part) for name, part in blobs.items()},
    )
    tensors = {WEIGHTS_FILE: blob, **{f"{name}.safetensors": part for name, part in blobs.items()}}
    write_folder(folder, record_json(generation), tensors, files or {})
    return generation


def load_segmenter(folder: Path, generation: SegmentationGeneration) -> Segmenter:
    """The network of a generation in evaluation mode, its weights checked against the record.

    Raises:
        ModelError: weights that are missing, changed, or of another architecture.
    """
    tensors = recorded_weights(folder, generation.weights)
    with torch.random.fork_rng(devices=[]):  # the passing initial weights
        network = assemble_segmenter(generation.architecture, classes=len(generation.classes))
    weights.apply(network, tensors, where=folder / WEIGHTS_FILE)
    return network.eval()
