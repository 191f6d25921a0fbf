"""Small networks for small images and quick studies: linear, one hidden layer, few convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from foresift.models.network import Network


class Linear(Network):
    """Multinomial logistic regression on pixels; the embedding is the flattened image."""

    def __init__(self, *, classes: int, image_size: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * image_size * image_size, classes)

    def features(self, images: Tensor) -> Tensor:
        """(b, 3 s s) pixels."""
        return images.flatten(1)


class Mlp(Network):
    """One hidden layer of ``width`` ReLU units on pixels."""

    def __init__(self, *, classes: int, image_size: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * image_size * image_size, width)
        self.act = nn.ReLU()
        self.taps = ("act",)
        self.head = nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """(b, width) hidden activations."""
        hidden: Tensor = self.act(self.hidden(images.flatten(1)))
        return hidden


class Cnn(Network):
    """Three 3x3 convolutions of width w, 2w, 4w with batch norm, a stride of 2 between them, mean pooling.

    An 8x8 image is 2x2 before the pooling; any larger image works too.
    """

    def __init__(self, *, classes: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            _block(3, width, stride=1),
            _block(width, 2 * width, stride=2),
            _block(2 * width, 4 * width, stride=2),
        )
        self.taps = ("blocks.0", "blocks.1", "blocks.2")
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, classes)

    def features(self, images: Tensor) -> Tensor:
        """(b, 4 width) mean activations of the last convolution."""
        pooled: Tensor = self.pool(self.blocks(images))
        return pooled.flatten(1)


def _block(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
