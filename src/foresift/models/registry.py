"""Architectures by name: ours, plug-ins', then all of timm's."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import timm
import torch
from torch import nn

from foresift.core.errors import ModelError, UnknownNameError, UsageError
from foresift.core.generations import Transform
from foresift.core.protocols import ModelBuilder
from foresift.core.registry import Registry
from foresift.models.dropout import with_dropout
from foresift.models.embedding import embedding_width, mlp_head, replace_head, trial_images, with_embedding
from foresift.models.network import Network
from foresift.models.pretrained import published, published_classes, published_transform
from foresift.models.resnets import CifarResNet, SmallImageResNet
from foresift.models.segmentation import HEADS
from foresift.models.small import Cnn, Linear, Mlp

CUSTOM = "custom"
"""The architecture name of a user's own ``nn.Module``."""
_DROPOUT = re.compile(r"(?P<bare>.+?)[:,]dropout=(?P<p>.*)")
HE = "He et al. 2016, Deep Residual Learning for Image Recognition"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A builder with a width: ``mlp:64`` is the family ``mlp`` at width 64."""

    make: Callable[..., nn.Module]
    family: str
    cite: str = ""
    width: int | None = None
    """Default width; None = the architecture takes none."""

    def __call__(self, *, classes: int, image_size: int) -> nn.Module:
        """An untrained network."""
        given = {"classes": classes, "image_size": image_size, "width": self.width}
        takes = inspect.signature(self.make).parameters
        return self.make(**{key: value for key, value in given.items() if key in takes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A row of ``foresift models``."""

    name: str
    family: str
    parameters: int | None
    """At 10 classes and 32x32 images; None where it would have to be built to know."""
    cite: str
    aliases: tuple[str, ...] = ()


ARCHITECTURES: Registry[ModelBuilder] = Registry("model", group="foresift.models")

ARCHITECTURES.add("linear", Family(make=Linear, family="small"))
ARCHITECTURES.add("mlp", Family(make=Mlp, family="small", width=64))
ARCHITECTURES.add("cnn", Family(make=Cnn, family="small", width=8))


def _cifar(depth: int) -> Family:
    def make(*, classes: int) -> nn.Module:
        return CifarResNet(classes=classes, depth=depth)

    return Family(make=make, family="CIFAR ResNet", cite=f"{HE}, section 4.2 (option A)")


def _small_image(*depths: int) -> Family:
    def make(*, classes: int) -> nn.Module:
        return SmallImageResNet(classes=classes, depths=depths)

    return Family(make=make, family="ResNet, 3x3 stem", cite=f"{HE}, table 1")


for _depth in (8, 20, 32, 56):
    ARCHITECTURES.add(f"resnet{_depth}", _cifar(_depth))
ARCHITECTURES.add("resnet10-small", _small_image(1, 1, 1, 1), aliases=("resnet10",))
ARCHITECTURES.add("resnet18-small", _small_image(2, 2, 2, 2))
ARCHITECTURES.add("resnet34-small", _small_image(3, 4, 6, 3))


def build(name: str, *, classes: int, image_size: int, pretrained: bool = False, seed: int | None = None) -> nn.Module:
    """An untrained network of a name that ``foresift models`` lists, or of timm's.

    Args:
        name: ``resnet20``, ``mlp:64``, ``timm:resnet18``, ``resnet18+mlp:256`` (an MLP as head),
            ``cnn:16,dropout=0.3`` or ``resnet18:dropout=0.3`` (dropout before the last layer).
        classes: at least 2.
        image_size: side of the square input in pixels.
        pretrained: start from timm's published weights, except for the last layer.
        seed: of the initial weights; None draws from torch's global generator.
    Raises:
        UnknownNameError: neither ours nor timm's; suggests the nearest.
        ModelError: it can't take such images, or the published weights can't be had.
    """
    if classes < 2:
        raise UsageError(f"a classifier needs at least 2 classes, got {classes}")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        network = assemble(name, classes=classes, image_size=image_size, pretrained=pretrained)
    if not isinstance(network, Network):
        _check_probe(network, name=name, image_size=image_size)
    return network


def assemble(name: str, *, classes: int, image_size: int, pretrained: bool = False) -> nn.Module:
    """What :func:`build` gives, not tried out on an image: enough to be filled with saved weights."""
    backbone, head = split(canonical(name))
    bare, p = split_dropout(backbone)
    network = _backbone(bare, classes=classes, image_size=image_size, pretrained=pretrained)
    if head:
        fresh = mlp_head(spec_width(head), inputs=embedding_width(network), classes=classes)
        network = replace_head(network, fresh)
    return with_dropout(network, p) if p else network


def canonical(name: str) -> str:
    """The one spelling of an architecture: aliases resolved, ``timm:`` dropped where it says nothing new.

    Raises:
        UnknownNameError: no such architecture.
        UsageError: a width that is not a positive number, or a dropout outside [0, 1).
    """
    backbone, head = split(name)
    bare, p = split_dropout(backbone)
    own = _canonical_backbone(bare)
    comma = "," if ":" in own.removeprefix("timm:") else ":"
    return own + (f"{comma}dropout={p:g}" if p else "") + (f"+{head}" if head else "")


def split_dropout(backbone: str) -> tuple[str, float]:
    """A backbone without its dropout, and that: ``cnn:16,dropout=0.3`` is ``cnn:16`` and 0.3.

    Raises:
        UsageError: a dropout outside [0, 1).
    """
    found = _DROPOUT.fullmatch(backbone)
    if found is None:
        return backbone, 0.0
    text = found["p"]
    try:
        p = float(text)
    except ValueError:
        p = math.nan
    if not 0 <= p < 1:
        raise UsageError(
            f"{backbone!r}: dropout is the share of units to drop, within 0 .. 1 and below 1, got {text!r}"
        )
    return found["bare"], p


def split(architecture: str) -> tuple[str, str]:
    """Backbone and head: ``resnet18+mlp:256`` is ``resnet18`` and ``mlp:256``, ``resnet18`` has no head."""
    backbone, _, head = architecture.partition("+")
    if head and head.partition(":")[0] != "mlp":
        raise UsageError(f"{architecture!r}: a head is spelled mlp:WIDTH, got {head!r}")
    return backbone, f"mlp:{spec_width(head)}" if head else ""


def pretrained_transform(name: str) -> Transform:
    """How images reach an architecture's published weights.

    Raises:
        UnknownNameError: no such architecture.
        ModelError: there are no published weights of it.
    """
    backbone, _ = split(canonical(name))
    return published_transform(_timm_bare(backbone))


def pretrained_head_is_kept(name: str, *, classes: int) -> bool:
    """Whether ``build(name, pretrained=True)`` ends in the published last layer, not in an untrained one."""
    backbone, head = split(canonical(name))
    return not head and published_classes(_timm_bare(backbone)) == classes


def pretrained_classes(name: str) -> int:
    """How many classes the published weights of an architecture have; 0 where their last layer is missing."""
    backbone, _ = split(canonical(name))
    return published_classes(_timm_bare(backbone))


def describe() -> list[Description]:
    """Our own architectures and plug-ins', sorted by name; builds nothing of timm and fills no memory."""
    return [_describe(name) for name in ARCHITECTURES.names()]


def timm_names(pattern: str = "") -> list[str]:
    """timm's architectures, those that match a pattern such as ``resnet*``."""
    names: list[str] = timm.list_models(pattern)
    return names


def parameters(network: nn.Module) -> int:
    """The number of trainable numbers in a network."""
    return sum(p.numel() for p in network.parameters())


def _canonical_backbone(name: str) -> str:
    own, _, width = name.partition(":")
    if own == "timm":
        return width if _is_timm(width) and width not in ARCHITECTURES else _timm_or_raise(name)
    if own in ARCHITECTURES:
        entry = ARCHITECTURES.get(own)
        default = getattr(entry, "width", None)
        if width and default is None:
            raise UsageError(f"{name!r}: {own} takes no width")
        return ARCHITECTURES.canonical(own) + (f":{spec_width(name) if width else default}" if default else "")
    return _timm_or_raise(name)


def _timm_or_raise(name: str) -> str:
    if _is_timm(name.removeprefix("timm:")):
        return name
    bare = name.removeprefix("timm:")
    if bare.partition(":")[0] in HEADS:
        raise ModelError(f"{bare} is a segmentation model; train it with --task segmentation")
    near = difflib.get_close_matches(bare, timm.list_models(), n=1, cutoff=0.75)
    known = [*ARCHITECTURES, *(a for n in ARCHITECTURES for a in ARCHITECTURES.aliases_of(n)), *near]
    raise UnknownNameError("model", bare, known)


def _is_timm(name: str) -> bool:
    return "/" not in name and bool(timm.is_model(name))


def spec_width(spec: str) -> int:
    """The number after the colon of ``mlp:64``."""
    text = spec.partition(":")[2]
    if not text.isdecimal() or not 1 <= int(text) <= 65_536:
        raise UsageError(f"{spec!r}: expected a width of 1 .. 65536 after the colon, such as mlp:64")
    return int(text)


def _backbone(name: str, *, classes: int, image_size: int, pretrained: bool) -> nn.Module:
    own, _, width = name.partition(":")
    if own not in ARCHITECTURES:
        return _timm(name, classes=classes, image_size=image_size, pretrained=pretrained)
    if pretrained:
        raise _unpublished(name)
    builder = ARCHITECTURES.get(own)
    if isinstance(builder, Family) and width:
        builder = replace(builder, width=int(width))
    built: nn.Module = builder(classes=classes, image_size=image_size)
    return built


def _timm_bare(backbone: str) -> str:
    """timm's own spelling of a canonical backbone."""
    bare, _ = split_dropout(backbone)
    if bare.partition(":")[0] in ARCHITECTURES:
        raise _unpublished(bare)
    return bare.removeprefix("timm:")


def _unpublished(name: str) -> ModelError:
    return ModelError(f"{name}: there are no published weights; choose a timm architecture, or a folder")


def _timm(name: str, *, classes: int, image_size: int, pretrained: bool) -> nn.Module:
    bare = name.removeprefix("timm:")
    known = timm.get_pretrained_cfg(bare)
    # Only networks with position embeddings ask for the size; the others refuse the argument.
    sized = {"img_size": image_size} if known is not None and known.fixed_input_size else {}
    if pretrained:
        return published(bare, num_classes=classes, **sized)
    try:
        network: nn.Module = timm.create_model(bare, num_classes=classes, **sized)
    except Exception as error:  # noqa: BLE001 -- each of timm's architectures refuses sizes in its own way
        raise ModelError(f"{name}: timm can't build it for {image_size} pixels: {_line(error)}") from None
    return network


def _check_probe(network: nn.Module, *, name: str, image_size: int) -> None:
    """One small forward pass now rather than a surprise after training."""
    network.eval()
    try:
        with torch.inference_mode():
            images = trial_images(image_size)
            logits, embeddings = with_embedding(network)(images)
            own = network(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(f"{name}: can't take {image_size}x{image_size} images: {_line(error)}") from None
    if own.shape != logits.shape or embeddings.dim() != 2 or not torch.allclose(own, logits, atol=1e-4, rtol=1e-4):
        raise ModelError(f"{name}: no embeddings can be had beside its logits; choose another architecture")
    network.train()


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _describe(name: str) -> Description:
    entry: Any = ARCHITECTURES.get(name)
    shown = f"{name}:{entry.width}" if getattr(entry, "width", None) else name
    return Description(
        name=shown,
        family=getattr(entry, "family", "plug-in"),
        parameters=_parameters_without_memory(entry) if isinstance(entry, Family) else None,
        cite=getattr(entry, "cite", ""),
        aliases=tuple(ARCHITECTURES.aliases_of(name)),
    )


def _parameters_without_memory(entry: Family) -> int:
    with torch.device("meta"):
        return parameters(entry(classes=10, image_size=32))
