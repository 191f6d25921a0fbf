"""A training run that kills itself without warning; started by test_supervised.py."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foresift.core.generations import Transform
from foresift.core.protocols import Silent
from foresift.training import ArrayImages, Recipe, train

RECIPE = Recipe(epochs=5, batch_size=32, augment="flip-crop-color", warmup_epochs=1)


def network() -> nn.Module:
    """Batch norm, dropout and momentum: all the state that a resumed run has to bring back."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * 36, 3)
    )


def data() -> tuple[ArrayImages, np.ndarray]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (97, 8, 8, 3), dtype=np.uint8)
    return ArrayImages.from_array(pixels, Transform(size=8)), rng.integers(0, 3, 97)


class Killer(Silent):
    """kill -9 at the end of epoch 3, before its checkpoint is written."""

    done_epochs = 0

    def advance(self, units: int) -> None:
        self.done_epochs += units
        if self.done_epochs == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_while_writing() -> None:
    """kill -9 in the middle of the third checkpoint."""
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            os.ftruncate(descriptor, 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    os.fsync = fsync


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    net = network()
    if sys.argv[2] == "writing":
        kill_while_writing()
    progress = Killer() if sys.argv[2] == "epoch" else Silent()
    train(net, *data(), recipe=RECIPE, seed=1, folder=Path(sys.argv[1]), progress=progress)
