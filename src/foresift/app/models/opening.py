"""Generations as they are opened: where they lie, their weights checked against the record, loaded when needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foresift.app.workspace import Workspace
from foresift.core.digests import digest_value
from foresift.core.errors import ModelError, UsageError
from foresift.core.generations import Generation
from foresift.inference.columns import Subject
from foresift.stores.generations import WEIGHTS, read_generation

if TYPE_CHECKING:
    from torch import nn

FORWARD = "forward"
BACKBONE = "backbone"
"""Embeddings only: shared by every head on the same backbone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A generation and where it lies; weights are loaded only when something is inferred."""

    folder: Path
    generation: Generation
    backbone_only: bool = False
    """Ask for the embeddings alone, under the key that every head on this backbone shares."""
    module: nn.Module | None = None
    """For the architecture ``custom``: the user's own module."""
    checkpoint: Path | None = None
    """Weights of one epoch in place of the last; ``generation.weights`` is this file's digest then."""

    @property
    def stage(self) -> str:
        """``backbone`` when logits follow from stored embeddings or there are none, else ``forward``."""
        return BACKBONE if self.generation.trained_head_only or not self.gives_logits else FORWARD

    @property
    def gives_logits(self) -> bool:
        """Whether there is anything to ask beyond embeddings."""
        return self.generation.has_head and not self.backbone_only

    @property
    def key(self) -> str:
        """Digest of what the stage depends on."""
        record = self.generation
        body = record.backbone if self.stage == BACKBONE else record.weights
        return digest_value([record.body, body, list(record.probe)])

    @property
    def whole_key(self) -> str:
        """Digest of everything that the trained network depends on, its head and further parts included."""
        record = self.generation
        parts = [record.architecture, record.weights, list(record.probe)]
        return digest_value([*parts, dict(record.parts)] if record.parts else parts)

    def network(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        from foresift.models import load_checkpoint, load_network

        if self.checkpoint is not None:
            return load_checkpoint(self.checkpoint, self.generation, module=self.module)
        return load_network(self.folder, self.generation, module=self.module)

    def subject(self) -> Subject:
        """The trained network on a GPU where there is one, as passes over images take it."""
        import torch

        from foresift.models import ScoringModule, load_loss_prediction, loss_predictor

        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = self.network().requires_grad_(False).to(device)
        scoring = ScoringModule(network, self.generation.transform)
        module = load_loss_prediction(self.folder, self.generation)
        predict = None if module is None else loss_predictor(scoring, network, module.requires_grad_(False).to(device))
        return Subject(network=scoring, predict_loss=predict)


def open_model(workspace: Workspace, spec: str | Path, *, module: nn.Module | None = None) -> Model:
    """The model behind a folder or generation id, its weights file checked against the record.

    The check hashes the file once and remembers the result by size and modification time. A module is
    filled with the weights and checked here, also where everything it could be asked is in the store.

    Raises:
        UsageError: a module for a generation that needs none.
        ModelError: no such generation, its weights changed since the record was written, or the module
            is another than the one it was made with.
    """
    folder = workspace.generation_folder(spec)
    generation = read_generation(folder)
    check_weights(workspace, folder, generation.weights)
    model = Model(folder=folder, generation=generation, module=module)
    if module is not None:
        _check_module(model)
    return model


def at_checkpoint(model: Model, path: Path) -> Model:
    """The generation with the weights of one epoch; its further parts belong to the last one's.

    Raises:
        ModelError: the generation kept no checkpoint of that name.
    """
    recorded = model.generation.checkpoints.get(path.name)
    if recorded is None:
        raise ModelError(f"{path} is gone; put it back or train again")
    return replace(
        model, generation=replace(model.generation, weights=recorded, backbone=recorded, parts={}), checkpoint=path
    )


def check_weights(workspace: Workspace, folder: Path, digest: str) -> None:
    """Refuse a weights file that is another than the record names.

    Raises:
        ModelError: it changed since.
    """
    path = folder / WEIGHTS
    if remembered_digest(workspace, path) != digest:
        raise ModelError(f"{path} is not the file that the generation was recorded with; restore it or train again")


def require_head(model: Model, what: str) -> None:
    """Refuse a generation that was trained without labels where logits are needed.

    Raises:
        ModelError: names what needs them, and how to come by them.
    """
    if model.generation.has_head:
        return
    raise ModelError(
        f"{what} needs logits, and {model.folder} has no head: it was made without labels and gives embeddings only; "
        "use a strategy that needs no more (auto, typiclust, k-dpp), or train a head on labels: "
        f"foresift train POOL --labels FILE --model {model.folder} --train head --out DIR"
    )


def _check_module(model: Model) -> None:
    from foresift.models.registry import CUSTOM

    if not model.generation.architecture.startswith(CUSTOM):
        what = f"{model.folder} is of the architecture {model.generation.architecture}, not a module of your own"
        raise UsageError(f"{what}; leave module= out")
    model.network()


def remembered_digest(workspace: Workspace, path: Path) -> str:
    """Digest of a file's bytes, read again only when its size or time changed."""
    from foresift.core.digests import digest_bytes

    stat = path.stat()
    stamp = (stat.st_size, stat.st_mtime_ns)
    memory = workspace.digests()
    address = str(path.absolute())
    if (known := memory.lookup([address], [stamp])[0]) is not None:
        return known
    digest = digest_bytes(path.read_bytes())
    memory.remember([address], [stamp], [digest])
    return digest
