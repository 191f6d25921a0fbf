"""The ResNet of CIFAR as the encoder of a segmentation network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import ModelError
from foresift.models.resnets import cifar_stages, initialise

STRIDES = (2, 2, 2)
"""Of the three stages; the stem has 2 as well, so that the last features are a sixteenth of the image."""
STRIDE = 16
DEPTHS = {"resnet20": 20}
"""Encoders by name: layers."""


class _Body(nn.Module):
    """Stem and stages under the names that the classifier has, so that its weights fit."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem, self.stages = cifar_stages(depth, strides=STRIDES, stem_stride=2)


class CifarEncoder(nn.Module):
    """Feature maps at 1, 1/2, 1/4, 1/8 and 1/16 of the image's sides, as segmentation-models-pytorch wants them.

    The classifier (He et al. 2016, section 4.2) keeps 32 px images at 32, 16 and 8; here stem and first stage halve
    too, which changes no weight's shape.
    """

    def __init__(self, *, layers: int, depth: int = 4, output_stride: int = STRIDE) -> None:
        super().__init__()
        if depth != 4 or output_stride not in (STRIDE, 32):
            raise ModelError(
                f"a ResNet-{layers} of CIFAR ends at a stride of {STRIDE}: it goes with deeplabv3plus only"
            )
        self.model, self.output_stride = _Body(layers), STRIDE
        initialise(self.model)
        self.out_channels = [3, 16, 16, 32, 64]
        self._ends = [(layers - 2) // 6 * (stage + 1) for stage in range(3)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Five feature maps, the images first."""
        x = functional.relu(self.model.stem(images))
        found = [images, x]
        for number, block in enumerate(self.model.stages, start=1):
            x = block(x)
            if number in self._ends:
                found.append(x)
        return found

    def set_in_channels(self, channels: int, *, pretrained: bool) -> None:  # noqa: ARG002 - the library's signature
        """Three, and no others."""
        if channels != 3:
            raise ModelError(f"a ResNet of CIFAR takes 3 channels, not {channels}")

    def make_dilated(self, output_stride: int) -> None:
        """Nothing to do: the stride is that already."""
        if output_stride != STRIDE:
            raise ModelError(f"a ResNet of CIFAR ends at a stride of {STRIDE}, not {output_stride}")


def register(library: Any) -> None:
    """Make the encoders known to segmentation-models-pytorch."""
    for name, layers in DEPTHS.items():
        entry = {"encoder": CifarEncoder, "pretrained_settings": {}, "params": {"layers": layers}}
        library.encoders.encoders.setdefault(name, entry)
