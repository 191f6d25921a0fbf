"""Segmentation networks by name: a head of segmentation-models-pytorch over an encoder of timm, or one of ours."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import MissingExtraError, ModelError, UnknownNameError, UsageError
from foresift.models import cifar_encoder, weights
from foresift.models.loss_prediction import watched

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel

HEADS = (
    "deeplabv3",
    "deeplabv3plus",
    "fpn",
    "linknet",
    "manet",
    "pan",
    "pspnet",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
)
"""What goes before the colon, as segmentation-models-pytorch spells it."""
CONTEXTS = {
    "deeplabv3": "aspp",
    "deeplabv3plus": "aspp",
    "manet": "center",
    "pan": "fpa",
    "pspnet": "psp",
    "upernet": "psp",
}
"""Heads whose decoder first gathers what is around each place (ASPP in DeepLab), and the part that does it."""
PROBE_SIDES = (129, 150)
"""Height and width of the trial image: no multiple of any stride."""
_SMALL = 2
"""Images of the trial batch."""


class Segmenter(nn.Module):
    """A network for images of any size: padded to the encoder's stride, the logits of the padding cut off.

    The logits of the padding therefore reach no loss, no score and no metric. The padding repeats the
    image's edge, as that of a pass over large images does.

    Args:
        context: the decoder's part that gathers what is around each place; None = there is none.
    """

    def __init__(self, network: SegmentationModel, *, context: str | None = None) -> None:
        super().__init__()
        self._context = context
        self.encoder, self.decoder, self.head = network.encoder, network.decoder, network.segmentation_head
        self.stride = int(network.encoder.output_stride)
        self.embedding_width = int(network.encoder.out_channels[-1])

    def forward(self, images: Tensor) -> Tensor:
        """(b, c, h, w) logits of (b, 3, h, w) normalised images."""
        logits: Tensor = self.head(self.decoder(self.encoder(self._padded(images))))
        return logits[:, :, : images.shape[2], : images.shape[3]]

    def with_embedding(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(b, c, h, w) logits and (b, d) embeddings: the mean of the encoder's last feature map."""
        features = self.encoder(self._padded(images))
        logits = self.head(self.decoder(features))[:, :, : images.shape[2], : images.shape[3]]
        return logits, features[-1].mean(dim=(2, 3))

    def observe(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(b, c, h, w) logits and four feature maps of the padded images, each (b, d, h', w') of its own.

        The encoder's at a quarter of the sides, its last, what the decoder gathers of the latter (ASPP in
        DeepLab), and what the last convolution looks at.

        Raises:
            ModelError: the decoder gathers nothing; see ``CONTEXTS``.
        """
        if self._context is None:
            raise ModelError(f"this network's head is none of {', '.join(CONTEXTS)}")
        features = self.encoder(self._padded(images))
        with watched(self.decoder, (self._context,)) as seen:
            decoded = self.decoder(features)
        logits = self.head(decoded)[:, :, : images.shape[2], : images.shape[3]]
        return logits, [features[2], features[-1], seen[self._context], decoded]

    def features(self, images: Tensor) -> Tensor:
        """(b, d, h', w') last feature map of the encoder, its sides those of the padded images over ``stride``."""
        found: Tensor = self.encoder(self._padded(images))[-1]
        return found

    def low_level(self, images: Tensor) -> Tensor:
        """(b, d, h', w') feature map at a quarter of the padded images' sides, that of edges and textures."""
        found: Tensor = self.encoder(self._padded(images))[2]
        return found

    def _padded(self, images: Tensor) -> Tensor:
        below, beside = (-side % self.stride for side in images.shape[2:])
        return functional.pad(images, (0, beside, 0, below), mode="replicate") if below or beside else images


def build_segmenter(name: str, *, classes: int, seed: int | None = None) -> Segmenter:
    """An untrained network.

    Args:
        name: HEAD:ENCODER, such as ``deeplabv3plus:resnet50`` or ``unet:timm:resnet18``.
        classes: at least 2.
        seed: of the initial weights; None draws from torch's global generator.
    Raises:
        UnknownNameError: no such head, or no such encoder in timm; suggests the nearest.
        ModelError: the two can't be put together.
        MissingExtraError: segmentation-models-pytorch is not installed.
    """
    if classes < 2:
        raise UsageError(f"segmentation needs at least 2 classes, got {classes}")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        network = assemble_segmenter(name, classes=classes)
    _check_probe(network, name=name, classes=classes)
    return network


def assemble_segmenter(name: str, *, classes: int) -> Segmenter:
    """What :func:`build_segmenter` gives, not tried out on an image: enough to be filled with saved weights."""
    head, _, encoder = canonical_segmenter(name).partition(":")
    try:
        own = {"encoder_name": encoder, "encoder_depth": 4} if encoder in cifar_encoder.DEPTHS else {}
        options = {"encoder_name": f"tu-{encoder}", **own}
        network = _smp().create_model(head, encoder_weights=None, classes=classes, **options)
    except Exception as error:  # noqa: BLE001 -- timm's encoders refuse to be encoders in all sorts of ways
        raise ModelError(f"{name}: {encoder} can't be the encoder of {head}: {_line(error)}") from None
    return Segmenter(network, context=CONTEXTS.get(head))


def canonical_segmenter(name: str) -> str:
    """The one spelling of a segmentation network: HEAD:ENCODER, without ``timm:``.

    Raises:
        UnknownNameError: no such head or encoder.
        UsageError: no colon.
    """
    head, colon, encoder = name.partition(":")
    if head not in HEADS:
        raise UnknownNameError("segmentation head", head, HEADS)
    if not colon or not encoder:
        raise UsageError(f"{name!r}: a segmentation model is spelled HEAD:ENCODER, such as {head}:resnet18")
    bare = encoder.removeprefix("timm:")
    if bare in cifar_encoder.DEPTHS and bare == encoder:
        return f"{head}:{bare}"
    if "/" in bare or not timm.is_model(bare):
        near = difflib.get_close_matches(bare, timm.list_models(), n=3, cutoff=0.6)
        raise UnknownNameError("encoder", bare, near or ["all of timm's models"])
    return f"{head}:{bare}"


def load_encoder(network: Segmenter, path: Path) -> None:
    """Fill the encoder with the weights of a file: a timm network's, or those of a generation with that backbone.

    The file's last layers (classifier, final norm) have no place in an encoder and are left out.

    Raises:
        ModelError: unreadable, another architecture, or not finite.
    """
    encoder = network.encoder.model
    expected = encoder.state_dict()
    # An encoder that is a list of stages spells blocks.0 as blocks_0.
    given = {_flat(name): value for name, value in weights.read(path).items()}
    found = {name: given[_flat(name)] for name in expected if _flat(name) in given}
    weights.check_fit(expected, found, where=path)
    weights.check_finite(found, where=path)
    encoder.load_state_dict(found)


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _check_probe(network: Segmenter, *, name: str, classes: int) -> None:
    """One small forward pass now rather than a surprise after training."""
    network.eval()
    try:
        with torch.inference_mode():
            logits, embeddings = network.with_embedding(torch.zeros(_SMALL, 3, *PROBE_SIDES))
    except (RuntimeError, AssertionError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{name}: can't take images of any size: {_line(error)}") from None
    if logits.shape != (_SMALL, classes, *PROBE_SIDES) or embeddings.shape != (_SMALL, network.embedding_width):
        raise ModelError(f"{name}: gives logits of shape {tuple(logits.shape)}, expected one a pixel")
    network.train()


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _smp() -> Any:
    try:
        import segmentation_models_pytorch as library
    except ImportError:
        raise MissingExtraError("segmentation", "vision") from None
    cifar_encoder.register(library)
    return library
