"""Checkpoints that survive kill -9 and torn files, and are read without running code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from safetensors.torch import save as safetensors_bytes
from torch import nn

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
RUN_KEY = "foresift_run"
"""Where a checkpoint says which run it belongs to."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames: a crash leaves the old file or the new one."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ARG002 -- Lightning's signature
    ) -> None:
        """Write ``checkpoint`` to ``path``."""
        _write_whole(Path(path), lambda file: torch.save(checkpoint, file))

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,  # noqa: ARG002 -- Lightning's signature
    ) -> dict[str, Any]:
        """Read ``path`` with ``weights_only=True``, whatever Lightning asks for."""
        loaded: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return loaded


class EveryEpoch(Checkpoint):
    """After each epoch: its weights where they are to be kept, ``last.ckpt``, the one before as ``previous.ckpt``."""

    def __init__(self, folder: Path, network: nn.Module, *, kept: range) -> None:
        super().__init__()
        self._folder, self._network, self._kept = folder, network, kept

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        """Lightning calls this after every other end-of-epoch hook."""
        if trainer.current_epoch in self._kept:  # first: a run that is killed after it repeats the epoch
            blob = safetensors_bytes(_plain_weights(self._network))
            _write_whole(epoch_file(self._folder, trainer.current_epoch), lambda file: file.write(blob))
        last = self._folder / LAST
        if last.exists():
            last.replace(self._folder / PREVIOUS)
        trainer.save_checkpoint(last)


def epoch_file(folder: Path, epoch: int) -> Path:
    """The weights of an epoch (the first is 0) that is kept."""
    return folder / f"epoch-{epoch:04d}.safetensors"


def kept_epochs(folder: Path) -> list[Path]:
    """The weights of all epochs that were kept, the first epoch first."""
    return sorted(folder.glob("epoch-*.safetensors"))


def resumable(folder: Path, *, run: str) -> Path | None:
    """The newest whole checkpoint of this very run, or None; torn and foreign files are passed over."""
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001, S112 -- torn bytes make the reader fail in arbitrary ways
            continue
        if isinstance(loaded, dict) and loaded.get(RUN_KEY) == run:
            return path
    return None


def _plain_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of their own on the CPU, in the memory layout that the format takes."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


def _write_whole(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    temporary = target.with_name(f".{target.name}.part")  # one name: a killed run's part is written over
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
