"""Residual networks for small images: He's CIFAR family and ImageNet's with a 3x3 stem.

Source: He, Zhang, Ren, Sun 2016, *Deep Residual Learning for Image Recognition*, section 4.2 (CIFAR)
and table 1 (ImageNet).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.models.network import Network


class CifarResNet(Network):
    """The 6n+2 layer ResNet of section 4.2: widths 16, 32, 64, parameter-free shortcuts (option A).

    Option A (subsample, pad the new channels with zeros) is what the paper uses on CIFAR-10; it gives
    its parameter counts: 0.27 M at 20 layers, 0.46 M at 32, 0.85 M at 56.
    """

    def __init__(self, *, classes: int, depth: int) -> None:
        super().__init__()
        self.stem, self.stages = cifar_stages(depth)
        self.taps = ("stem", *_ends(depths=[(depth - 2) // 6] * 3))
        self.head = nn.Linear(64, classes)
        initialise(self)

    def features(self, images: Tensor) -> Tensor:
        """(b, 64) mean activations of the last stage."""
        return _pooled(self.stages(functional.relu(self.stem(images))))


class SmallImageResNet(Network):
    """ImageNet's basic-block ResNet with a 3x3 stride-1 stem and no max-pool, for images up to about 64 pixels.

    Shortcuts that change shape are 1x1 convolutions (option B), as in table 1's networks.
    """

    def __init__(self, *, classes: int, depths: Sequence[int]) -> None:
        super().__init__()
        self.stem = _conv_norm(3, 64, stride=1)
        self.stages = _stages(_ProjectedBlock, 64, widths=(64, 128, 256, 512), depths=depths)
        self.taps = _ends(depths=depths)
        self.head = nn.Linear(512, classes)
        initialise(self)

    def features(self, images: Tensor) -> Tensor:
        """(b, 512) mean activations of the last stage."""
        return _pooled(self.stages(functional.relu(self.stem(images))))


def cifar_stages(
    depth: int, *, strides: Sequence[int] = (1, 2, 2), stem_stride: int = 1
) -> tuple[nn.Sequential, nn.Sequential]:
    """Stem and blocks of the 6n+2 layer ResNet; other strides than its own change no weight's shape."""
    depths = [(depth - 2) // 6] * 3
    stages = _stages(_PaddedBlock, 16, widths=(16, 32, 64), depths=depths, strides=strides)
    return _conv_norm(3, 16, stride=stem_stride), stages


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which the subclass gives."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_norm(inputs, outputs, stride=stride)
        self.second = _conv_norm(outputs, outputs, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(functional.relu(self.first(x)))
        return functional.relu(residual + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class _PaddedBlock(_Block):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.stride, self.grown = stride, outputs - inputs

    def shortcut(self, x: Tensor) -> Tensor:
        thinned = x[:, :, :: self.stride, :: self.stride]
        if not self.grown:
            return thinned
        before = self.grown // 2
        return functional.pad(thinned, (0, 0, 0, 0, before, self.grown - before))


class _ProjectedBlock(_Block):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        changes = stride != 1 or inputs != outputs
        self.project = _conv_norm(inputs, outputs, stride=stride, size=1) if changes else nn.Identity()

    def shortcut(self, x: Tensor) -> Tensor:
        projected: Tensor = self.project(x)
        return projected


def _stages(
    block: type[_Block], inputs: int, *, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int] = ()
) -> nn.Sequential:
    """Blocks of every stage; the first of each has its stride, by default 1 in the first stage and 2 in the others."""
    blocks: list[nn.Module] = []
    for width, depth, stride in zip(widths, depths, strides or (1, *[2] * (len(widths) - 1)), strict=True):
        for index in range(depth):
            blocks.append(block(inputs, width, 1 if index else stride))
            inputs = width
    return nn.Sequential(*blocks)


def _ends(*, depths: Sequence[int]) -> tuple[str, ...]:
    """Names of the last block of every stage."""
    return tuple(f"stages.{sum(depths[: stage + 1]) - 1}" for stage in range(len(depths)))


def _conv_norm(inputs: int, outputs: int, *, stride: int, size: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def _pooled(x: Tensor) -> Tensor:
    return torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1)


def initialise(network: nn.Module) -> None:
    """He initialisation of the convolutions (He et al. 2015, fan out), as in the paper."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
