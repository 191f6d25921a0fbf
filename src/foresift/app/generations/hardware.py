"""``foresift hardware``: what models cost on devices, and on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, ModelError, UsageError
from foresift.inference.latency import Latency, measure_latency
from foresift.lineage.hardware import (
    OPERATIONS_A_MAC,
    Device,
    Fit,
    fit,
    frame_budget_ms,
    merge_devices,
    parse_devices,
)
from foresift.stores.files import disk_errors
from foresift.stores.generations import displaced, is_segmentation, read_generation, read_segmentation

if TYPE_CHECKING:
    from torch import nn

OWN_SIZE, TIMM_SIZE = 32, 224
"""Sides in pixels of an architecture's input where nobody says: of our own small networks, and of timm's."""
OWN_CLASSES, TIMM_CLASSES = 10, 1000
DEVICES_FILE = "devices.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """One model: what it computes, and how long that takes."""

    model: str
    width: int
    height: int
    parameters: int
    gmacs: float
    """10^9 multiply-adds an image."""
    gops: float
    """10^9 operations an image, two a multiply-add: what TOPS are made of."""
    devices: tuple[Fit, ...]
    measured: Latency | None
    """One image at a time on this machine, decoding left out; None where it was not asked for."""
    keeps_up_here: bool | None = None
    """Whether the measured latency keeps up with the frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is wanted of each model."""

    devices: tuple[Device, ...]
    size: tuple[int, int] | None = None
    """(height, width) of the input; None = the generation's own, or the architecture's usual."""
    fps: float | None = None
    measure: bool = True

    def __post_init__(self) -> None:
        if self.fps is not None:
            frame_budget_ms(self.fps)
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"sizes are at least 1 pixel, got {self.size[1]}x{self.size[0]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    network: nn.Module
    height: int
    width: int


def known_devices(workspace: Workspace, file: Path | None = None) -> tuple[Device, ...]:
    """The shipped table, then the workspace's own ``devices.yml``, then ``file``; later ones replace by name.

    Raises:
        DataError: a table that can't be read, or a device without TOPS.
    """
    shipped = files("foresift.app.generations").joinpath(DEVICES_FILE).read_text(encoding="utf-8")
    tables = [_parsed(shipped, where=DEVICES_FILE)]
    own = workspace.home / DEVICES_FILE
    tables += [_read(path) for path in (*((own,) if own.is_file() else ()), *((file,) if file else ()))]
    return merge_devices(*tables)


def all_generations(workspace: Workspace) -> list[str]:
    """Folders of the generations that the workspace knows and that are still there, by id."""
    found = {one.generation: Path(one.folder) for one in workspace.descents.all()}
    there = [str(folder) for one, folder in sorted(found.items()) if folder.is_dir() and not displaced(folder, one)]
    if not there:
        raise UsageError("give a MODEL (an architecture, a generation folder or id); this workspace knows none yet")
    return there


def costs(workspace: Workspace, model: str, asked: Asked) -> Costs:
    """Operations, parameters and latencies of a generation or an architecture.

    Raises:
        ModelError: no such generation, or it can't take such images.
        UnknownNameError: no such architecture; suggests the nearest.
    """
    from foresift.models.counting import count

    subject = _subject(workspace, model, asked.size)
    counted = count(subject.network, height=subject.height, width=subject.width)
    if not counted.operations:
        raise ModelError(f"{model}: no operation of it could be counted")
    measured = _measured(subject) if asked.measure else None
    keeps_up = None if measured is None or asked.fps is None else measured.median_ms <= frame_budget_ms(asked.fps)
    gops = counted.operations / 1e9
    return Costs(
        model=model,
        width=subject.width,
        height=subject.height,
        parameters=counted.parameters,
        gmacs=gops / OPERATIONS_A_MAC,
        gops=gops,
        devices=tuple(fit(gops, device, fps=asked.fps) for device in asked.devices),
        measured=measured,
        keeps_up_here=keeps_up,
    )


def fitting(found: Sequence[Costs], device: str) -> list[str]:
    """The models that keep up with the frames on a device by its theoretical latency, the largest first."""
    able = [one for one in found if any(on.device == device and on.fits for on in one.devices)]
    return [one.model for one in sorted(able, key=lambda one: -one.gops)]


def _parsed(text: str, *, where: str) -> tuple[Device, ...]:
    import yaml

    try:
        plain: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())[:160]
        raise DataError(f"{where}: not YAML: {line}") from None
    return parse_devices(plain, where=where)


def _read(path: Path) -> tuple[Device, ...]:
    with disk_errors(path):
        data = path.read_bytes()
    try:
        return _parsed(data.decode("utf-8"), where=str(path))
    except UnicodeDecodeError:
        raise DataError(f"{path}: not YAML: not text in UTF-8") from None


def _subject(workspace: Workspace, model: str, size: tuple[int, int] | None) -> _Subject:
    try:
        folder = workspace.generation_folder(model)
    except ModelError:
        if Path(model).expanduser().exists():  # a folder without a generation is no architecture
            raise
        return _architecture(model, size)
    return _segmenter(folder, size) if is_segmentation(folder) else _classifier(folder, size)


def _classifier(folder: Path, size: tuple[int, int] | None) -> _Subject:
    from foresift.models import load_network

    generation = read_generation(folder)
    height, width = size or (generation.transform.size,) * 2
    return _Subject(network=load_network(folder, generation), height=height, width=width)


def _segmenter(folder: Path, size: tuple[int, int] | None) -> _Subject:
    from foresift.models.segmentation_generations import load_segmenter

    generation = read_segmentation(folder)
    sides = size or generation.transform.size
    if sides is None:
        raise UsageError(f"{folder} takes images of any size; say which with --size WxH")
    return _Subject(network=load_segmenter(folder, generation), height=sides[0], width=sides[1])


def _architecture(name: str, size: tuple[int, int] | None) -> _Subject:
    from foresift.models import ARCHITECTURES, build
    from foresift.models.segmentation import HEADS, build_segmenter

    family = name.partition(":")[0].partition("+")[0]
    if family in HEADS:
        if size is None:
            raise UsageError(f"{name} takes images of any size; say which with --size WxH")
        return _Subject(network=build_segmenter(name, classes=OWN_CLASSES, seed=0), height=size[0], width=size[1])
    own = family in ARCHITECTURES
    height, width = size or ((OWN_SIZE,) * 2 if own else (TIMM_SIZE,) * 2)
    if height != width:
        raise UsageError(f"{name} is a classifier, which takes squares; give --size PX, got {width}x{height}")
    classes = OWN_CLASSES if own else TIMM_CLASSES
    return _Subject(network=build(name, classes=classes, image_size=height, seed=0), height=height, width=width)


def _measured(subject: _Subject) -> Latency:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = subject.network.eval().to(device)
    image = torch.zeros((1, 3, subject.height, subject.width), device=device)

    def call() -> None:
        with torch.inference_mode():
            network(image)
        if device == "cuda":
            torch.cuda.synchronize()

    return measure_latency(call)
