"""Models as passes over images in their own size take them: segmenters, and backbones that embed patches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.app.models.opening import Model, check_weights
from foresift.app.workspace import Workspace
from foresift.core.arrays import Embeddings, Pixels
from foresift.core.digests import digest_value
from foresift.core.segmentation import SegmentationGeneration
from foresift.inference.crop_embeddings import CropSubject
from foresift.inference.decode import decoder_version
from foresift.inference.dense_columns import DenseSubject
from foresift.inference.dense_transform import apply_dense
from foresift.stores.ensembles import ensemble_file
from foresift.stores.generations import is_segmentation, read_segmentation

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseModel:
    """A segmentation model and where it lies; weights are loaded only when something is inferred."""

    folder: Path
    generation: SegmentationGeneration

    @property
    def key(self) -> str:
        """Digest of everything that the network depends on."""
        return digest_value([self.generation.architecture, self.generation.weights])

    @property
    def transform_key(self) -> str:
        """Digest of how pixels reach the network, the decoder included."""
        return digest_value([self.generation.transform.digest, decoder_version()])

    @property
    def described(self) -> dict[str, Any]:
        """What a receipt says of the model: enough to train another one on the same classes."""
        held = self.generation
        return {
            "id": held.id,
            "folder": str(self.folder.absolute()),
            "architecture": held.architecture,
            "image_size": held.transform.spelled,
            "classes": list(held.classes),
            "values": list(held.values),
            "ignored": list(held.ignored),
        }

    def network(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        from foresift.models.segmentation_generations import load_segmenter

        return load_segmenter(self.folder, self.generation)

    def subject(self) -> DenseSubject:
        """The trained network on a GPU where there is one."""
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        transform = self.generation.transform
        return DenseSubject(
            # Convolutions on the CPU are a quarter faster in this order.
            network=self.network().requires_grad_(False).to(device).to(memory_format=torch.channels_last),
            mean=transform.mean,
            std=transform.std,
            resize=partial(apply_dense, transform=transform),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CropModel:
    """A classifier's or self-taught backbone that embeds patches cut out of images."""

    model: Model

    @property
    def key(self) -> str:
        """Digest of what the embeddings depend on."""
        return self.model.key

    @property
    def transform_key(self) -> str:
        """Digest of how a crop reaches the network, the decoder included."""
        return digest_value([self.model.generation.transform.digest, decoder_version()])

    def subject(self) -> CropSubject:
        """The backbone on a GPU where there is one."""
        import torch

        network = self.model.subject().network
        device = next(network.parameters()).device

        def embed(crops: Pixels) -> Embeddings:
            with torch.inference_mode():
                found: Embeddings = network(torch.from_numpy(crops).to(device))[1].float().cpu().numpy()
            return found

        return CropSubject(embed=embed, transform=self.model.generation.transform)


def is_dense(workspace: Workspace, spec: str | Path) -> bool:
    """Whether a folder or id names a segmentation model; the members of an ensemble are classifiers.

    Raises:
        ModelError: it names no model at all.
    """
    return ensemble_file(spec) is None and is_segmentation(workspace.generation_folder(spec))


def open_dense(workspace: Workspace, spec: str | Path) -> DenseModel:
    """The segmentation model behind a folder or generation id, its weights file checked against the record.

    Raises:
        ModelError: no such generation, another kind of model, or weights that changed since.
    """
    folder = workspace.generation_folder(spec)
    generation = read_segmentation(folder)
    check_weights(workspace, folder, generation.weights)
    return DenseModel(folder=folder, generation=generation)
