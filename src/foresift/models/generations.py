"""Generations as folders: ``model.safetensors`` and, written last, ``generation.json``."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foresift.core.digests import DIGEST_CHARS, digest_bytes
from foresift.core.errors import ModelError
from foresift.core.generations import CHECKPOINTS, Generation, Transform
from foresift.core.segmentation import SegmentationGeneration
from foresift.models import weights
from foresift.models.embedding import MlpHead, embedding_width, head_paths, logits_width, mlp_head, replace_head
from foresift.models.registry import CUSTOM, assemble, canonical, spec_width, split, split_dropout

WEIGHTS_FILE = "model.safetensors"
RECORD_FILE = "generation.json"
NO_HEAD_WIDTH = 2
"""Width of the last layer that a network without classes carries along, untrained and never asked."""
PROBE_IMAGES, PROBE_LOGITS = 2, 8
"""A probe holds the first logits of so many images."""


def save_generation(
    folder: Path,
    network: nn.Module,
    *,
    architecture: str,
    classes: Sequence[str],
    transform: Transform,
    parent: str | None = None,
    data: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    seed: int = 0,
    metrics: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
    parts: Mapping[str, nn.Module] | None = None,
) -> Generation:
    """The record of a trained network, once it lies in ``folder`` complete.

    Saving the same generation twice is harmless.

    Args:
        folder: absent or empty; its parent is made.
        architecture: a name of ``foresift models``, or ``custom`` for a user's own module.
        classes: c names, in the order of the logits; none for a backbone, whose network has
            ``NO_HEAD_WIDTH`` logits that nobody asks for.
        files: more files that belong into the folder, by their path in it; the originals stay.
        parts: modules that were trained beside the network; each is kept as ``NAME.safetensors``.
    Raises:
        ModelError: the folder holds something else, weights are not finite, values are not plain JSON.
    """
    _check_record(network, architecture=architecture, classes=classes, size=transform.size)
    blob = weights.serialise(network)
    blobs = {name: weights.serialise(module) for name, module in (parts or {}).items()}
    for module in (network, *(parts or {}).values()):
        weights.check_finite(module.state_dict(), where=folder)
    generation = Generation(
        architecture=_checked_name(architecture),
        classes=tuple(classes),
        transform=transform,
        weights=digest_bytes(blob),
        backbone=backbone_digest(network, architecture=architecture),
        embedding_width=embedding_width(network),
        parent=parent,
        data=dict(data or {}),
        recipe=dict(recipe or {}),
        seed=seed,
        metrics=dict(metrics or {}),
        foresift=installed_version(),
        probe=probe(network, size=transform.size) if split(architecture)[0] == CUSTOM else (),
        parts={name: digest_bytes(part) for name, part in blobs.items()},
        checkpoints={
            Path(name).name: digest_bytes(file.read_bytes())
            for name, file in (files or {}).items()
            if Path(name).parent == Path(CHECKPOINTS)
        },
    )
    tensors = {WEIGHTS_FILE: blob, **{f"{name}.safetensors": part for name, part in blobs.items()}}
    write_folder(folder, record_json(generation), tensors, files or {})
    return generation


def load_network(folder: Path, generation: Generation, *, module: nn.Module | None = None) -> nn.Module:
    """The network of a generation in evaluation mode, its weights checked against the record.

    Args:
        module: for the architecture ``custom``: the user's own module, to be filled with the weights.
    Raises:
        ModelError: weights that are missing, changed, or of another architecture; ``custom`` without a
            module, or with one that computes something else.
    """
    tensors = recorded_weights(folder, generation.weights)
    loaded = weights.apply(_untrained(generation, module), tensors, where=folder / WEIGHTS_FILE).eval()
    _check_probe(loaded, generation)
    return loaded


def load_checkpoint(path: Path, generation: Generation, *, module: nn.Module | None = None) -> nn.Module:
    """The network of a generation with the weights that were kept after one of its epochs; in evaluation mode.

    Raises:
        ModelError: the file is missing, torn, changed since its digest was taken, or of another architecture.
    """
    if not path.is_file() or digest_bytes(path.read_bytes()) != generation.weights:
        raise ModelError(f"{path}: gone or changed since the selection began; run it again")
    return weights.apply(_untrained(generation, module), weights.read(path), where=path).eval()


def recorded_weights(folder: Path, digest: str) -> weights.StateDict:
    """The tensors of a generation folder.

    Raises:
        ModelError: missing, torn, or not those of the record.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"{path}: no such file; a generation folder holds {WEIGHTS_FILE} and {RECORD_FILE}")
    blob = path.read_bytes()
    if digest_bytes(blob) != digest:
        raise ModelError(f"{path}: not the weights that {RECORD_FILE} names (changed or torn since); copy again")
    return weights.parse(blob, where=path)


def probe(network: nn.Module, *, size: int) -> tuple[float, ...]:
    """The first logits of a fixed batch of images, to 4 significant digits: what tells two forwards apart.

    Raises:
        ModelError: the network can't take the images, or its logits are not finite.
    """
    training = {part: part.training for part in network.modules()}
    weight = next(network.parameters())
    try:
        with torch.inference_mode():
            logits = network.eval()(_probe_images(size).to(weight))
    except (RuntimeError, AssertionError, ValueError) as error:
        line = (str(error).splitlines() or [""])[0][:160]
        raise ModelError(f"the module can't take (b, 3, {size}, {size}) images: {line}") from None
    finally:
        for part, mode in training.items():
            part.training = mode
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ModelError("the module must give one tensor of (batch, classes) logits")
    values: list[float] = logits[:, :PROBE_LOGITS].double().flatten().tolist()
    if not all(map(math.isfinite, values)):
        raise ModelError("the module's logits are not finite")
    return tuple(float(f"{value:.3e}") for value in values)


def _probe_images(size: int) -> Tensor:
    """(b, 3, size, size) within [-2, 2): the fractions of k^2 times the golden ratio, the same on every machine."""
    count = PROBE_IMAGES * 3 * size * size
    fractions = np.arange(count, dtype=np.float64) ** 2 * ((1 + 5**0.5) / 2) % 1
    return torch.from_numpy(4 * fractions - 2).view(PROBE_IMAGES, 3, size, size)


def _check_probe(network: nn.Module, generation: Generation) -> None:
    if not generation.probe:
        return
    now = probe(network, size=generation.transform.size)
    if len(now) != len(generation.probe) or not np.allclose(now, generation.probe, rtol=1e-2, atol=1e-3):
        raise ModelError(
            "this module computes something else than the one that was recorded, on the same weights; "
            "pass the module as it was, or adopt the changed one into a new folder"
        )


def backbone_digest(network: nn.Module, *, architecture: str) -> str:
    """Digest of all tensors but the head's, and of the backbone's name: equal ones share stored embeddings."""
    head = tuple(f"{path}." for path in head_paths(network))
    hasher = hashlib.sha256(split_dropout(split(_checked_name(architecture))[0])[0].encode())
    for name, value in sorted(network.state_dict().items()):
        if name.startswith(head):
            continue
        plain = value.detach().cpu().contiguous()
        hasher.update(f"\n{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        # Bytes, because NumPy knows no bfloat16.
        hasher.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()[:DIGEST_CHARS]


def _checked_name(architecture: str) -> str:
    backbone, head = split(architecture)
    if backbone == CUSTOM:
        return f"{CUSTOM}+{head}" if head else CUSTOM
    return canonical(architecture)


def _untrained(generation: Generation, module: nn.Module | None) -> nn.Module:
    backbone, head = split(generation.architecture)
    classes = len(generation.classes) or NO_HEAD_WIDTH
    if backbone != CUSTOM:
        return _blank(generation.architecture, classes=classes, image_size=generation.transform.size)
    if module is None:
        raise ModelError(
            "this generation is a module of your own (architecture 'custom'): pass an instance of it as module= "
            "from Python"
        )
    if not head or any(isinstance(part, MlpHead) for part in module.modules()):
        return module
    fresh = mlp_head(spec_width(head), inputs=embedding_width(module), classes=classes)
    return replace_head(module, fresh)


def _blank(architecture: str, *, classes: int, image_size: int) -> nn.Module:
    """A network to be filled; its passing initial weights leave the caller's random state alone."""
    with torch.random.fork_rng(devices=[]):
        return assemble(architecture, classes=classes, image_size=image_size)


def _check_record(network: nn.Module, *, architecture: str, classes: Sequence[str], size: int) -> None:
    """A record that could not be loaded again is refused while the network is still in memory."""
    width, expected = logits_width(network), len(classes) or NO_HEAD_WIDTH
    if width != expected:
        raise ModelError(f"the network gives {width} logits, but {len(classes)} classes were named")
    if split(architecture)[0] != CUSTOM:
        blank = _blank(architecture, classes=expected, image_size=size)
        weights.check_fit(blank.state_dict(), network.state_dict(), where=f"architecture {architecture}")


def record_json(generation: Generation | SegmentationGeneration) -> bytes:
    """The bytes of a record.

    Raises:
        ModelError: it holds what JSON can't spell.
    """
    try:
        return (json.dumps({"id": generation.id, **generation.to_dict()}, indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"data, recipe and metrics of a generation must be plain finite JSON values: {error}"
        ) from None


def write_folder(folder: Path, record: bytes, tensors: Mapping[str, bytes], files: Mapping[str, Path]) -> None:
    """Let a generation folder appear as a whole; one that holds this very record stays as it is.

    Raises:
        ModelError: the folder holds something else.
    """
    if _already_there(folder, record):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, file in files.items():
            _link(file, temporary / name)
        for name, blob in tensors.items():
            weights.write_atomically(temporary / name, blob)
        weights.write_atomically(temporary / RECORD_FILE, record)
        temporary.chmod(0o755)  # mkdtemp makes it private
        if folder.is_dir():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _link(file: Path, target: Path) -> None:
    """A second name for the bytes of ``file``, or a copy where the disk knows no second names."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _already_there(folder: Path, record: bytes) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    held = folder / RECORD_FILE
    if held.is_file() and held.read_bytes() == record:
        return True
    what = "another generation" if held.is_file() else "other files"
    raise ModelError(f"{folder}: holds {what}; choose a new folder (nothing was overwritten)")


def installed_version() -> str:
    """Foresift's own, for the record; empty where it is not installed."""
    try:
        return version("foresift")
    except PackageNotFoundError:
        return ""
