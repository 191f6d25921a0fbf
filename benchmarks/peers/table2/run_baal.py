"""baal's ``ModelWrapper`` over a data set that opens its files, with a worker for each core; then ``Certainty``."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch
from baal.active.heuristics import Certainty
from baal.modelwrapper import ModelWrapper, TrainingArgs
from task import Task, answer


class Files(torch.utils.data.Dataset):
    """Images of a task."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __len__(self) -> int:
        return len(self.task.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(np.ascontiguousarray(self.task.pixels(self.task.files[row]))), 0


def choose(task: Task) -> Callable[[], np.ndarray]:
    """``predict_on_dataset`` once over each image, then the ranks."""
    network = torch.nn.Sequential(task.network(), torch.nn.Softmax(dim=1))  # Certainty takes probabilities as they come
    wrapper = ModelWrapper(network, TrainingArgs(batch_size=task.batch, workers=os.cpu_count() or 1, use_cuda=False))

    def call() -> np.ndarray:
        said = wrapper.predict_on_dataset(Files(task), iterations=1, verbose=False)
        return np.asarray(Certainty()(said))[: task.budget]

    return call


answer("baal", choose)
