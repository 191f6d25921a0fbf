"""Checkpoints that survive kill -9 and torn files, and are read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

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
        target = Path(path)
        temporary = target.with_name(f".{target.name}.part")  # one name: a killed run's part is written over
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)

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
    """After each epoch: ``last.ckpt``, the one before as ``previous.ckpt``, and on request weights per epoch."""

    def __init__(self, folder: Path, *, keep_all: bool) -> None:
        super().__init__()
        self._folder, self._keep_all = folder, keep_all

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        """Lightning calls this after every other end-of-epoch hook."""
        last = self._folder / LAST
        if last.exists():
            last.replace(self._folder / PREVIOUS)
        trainer.save_checkpoint(last)
        if self._keep_all:
            trainer.save_checkpoint(epoch_file(self._folder, trainer.current_epoch), weights_only=True)


def epoch_file(folder: Path, epoch: int) -> Path:
    """The weights of an epoch (the first is 0) under ``checkpoint_every_epoch``."""
    return folder / f"epoch-{epoch:04d}.ckpt"


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
