"""What every training loop shares: epochs that are logged, told of, kept and taken up again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from foresift.core.errors import ModelError
from foresift.core.protocols import Progress
from foresift.training.checkpoints import RUN_KEY, AtomicCheckpointIO, EveryEpoch
from foresift.training.isolation import seed_all

BF16_FROM_PARAMETERS = 50_000
"""Smaller networks spend more on casting than they save (measured on a CPU with avx512_bf16)."""


class Optimization(Protocol):
    """The part of a recipe that says how weights are updated."""

    @property
    def optimizer(self) -> str:
        """``sgd`` or ``adamw``."""
        ...

    @property
    def peak_lr(self) -> float:
        """The highest learning rate."""
        ...

    @property
    def momentum(self) -> float:
        """Of SGD."""
        ...

    @property
    def weight_decay(self) -> float:
        """L2 penalty."""
        ...


class EpochModule(pl.LightningModule):
    """A loop over epochs whose subclass says what one step is; metrics of every epoch are its history.

    Args:
        run: which run this is; its checkpoints continue no other.
    """

    def __init__(self, *, epochs: int, seed: int, run: str, progress: Progress) -> None:
        super().__init__()
        self.history: list[dict[str, float]] = []
        self.resumed_from = 0
        self._epochs, self._seed, self._run, self._progress = epochs, seed, run, progress

    def on_fit_start(self) -> None:
        """Replays the metrics of earlier epochs, which a resumed CSV log starts without."""
        for epoch, row in enumerate(self.history):
            self._log_row(row, epoch)
        self._progress.start("training", self._epochs)
        self._progress.advance(self.resumed_from)

    def on_train_epoch_start(self) -> None:
        """Dropout and the like depend on (seed, epoch), so that a resumed epoch repeats itself."""
        seed_all(self._seed, self.current_epoch)

    def on_fit_end(self) -> None:
        """The last word to the progress display."""
        self._progress.done(", ".join(f"{name} {value:.3f}" for name, value in self.history[-1].items()))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Which run this is, and what it has seen."""
        checkpoint[RUN_KEY] = self._run
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the history of the epochs that are done."""
        self.history = list(checkpoint["history"])
        self.resumed_from = len(self.history)

    def close_epoch(self, row: dict[str, float], *, lr: float) -> None:
        """Adds the metrics of an epoch before its checkpoint is written, so that NaN weights never replace good ones.

        Raises:
            ModelError: the loss is no longer finite.
        """
        if not np.isfinite(row["train_loss"]):
            raise ModelError(
                f"the training loss is no longer finite in epoch {self.current_epoch + 1}; "
                f"use a smaller learning rate than lr={lr:g}"
            )
        self.history.append(row)
        self._log_row(row, self.current_epoch)
        self._progress.advance(1)

    def scheduled(self, network: nn.Module, recipe: Optimization, share: Callable[[int, int], float]) -> dict[str, Any]:
        """The recipe's optimizer; every step asks for its share of the peak rate: (step, all steps) -> share."""
        total = int(self.trainer.estimated_stepping_batches)
        optimizer = _optimizer(network, recipe)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share(min(step, total - 1), total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _log_row(self, row: Mapping[str, float], epoch: int) -> None:
        logger = self.logger
        logger.log_metrics({"epoch": epoch, **row}, step=epoch)
        logger.save()


def new_trainer(network: nn.Module, folder: Path, *, epochs: int, precision: str, kept: range = range(0)) -> pl.Trainer:
    """A trainer on one device that checkpoints every epoch into ``folder`` and prints nothing.

    Args:
        precision: ``auto``, ``32`` or ``bf16``.
        kept: epochs whose weights stay as files of their own; the first is 0.
    """
    cuda = torch.cuda.is_available()
    return pl.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=1,
        precision="bf16-mixed" if uses_bf16(network, precision, cuda=cuda) else "32-true",
        max_epochs=epochs,
        logger=CSVLogger(folder, name="", version=""),
        callbacks=[EveryEpoch(folder, network, kept=kept)],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1 << 30,
        use_distributed_sampler=False,
    )


def uses_bf16(network: nn.Module, precision: str, *, cuda: bool) -> bool:
    """Whether to compute in bfloat16: if asked for, or under ``auto`` where it was measured faster.

    On a CPU with avx512_bf16 that is 1.8 times for ResNets; grouped convolutions (MobileNet) and
    tiny networks lose instead.
    """
    if precision != "auto":
        return precision == "bf16"
    if cuda:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _cpu_has_bf16() and _dense_convolutions(network)


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _dense_convolutions(network: nn.Module) -> bool:
    groups = [part.groups for part in network.modules() if isinstance(part, nn.Conv2d)]
    size = sum(p.numel() for p in network.parameters())
    return bool(groups) and max(groups) == 1 and size >= BF16_FROM_PARAMETERS


def _optimizer(network: nn.Module, recipe: Optimization) -> torch.optim.Optimizer:
    wanted = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(wanted, lr=recipe.peak_lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        wanted,
        lr=recipe.peak_lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
