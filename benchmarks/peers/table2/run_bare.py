"""The bare loop: read, decode, infer, batch after batch, with Foresift's own decoder and its torch engine.

Nothing is stored, checked or shared, and a batch is decoded when the one before it was inferred. All files are gone
through twice: each batch decoded by one thread, and by as many as there are cores; the faster counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import torch
from task import CLASSES, MEAN, STD, Task, answer

from foresift.core.generations import Transform
from foresift.engines import REFERENCE, make_engine
from foresift.inference.transform import load
from foresift.models import ScoringModule, build
from foresift.sources.read import fetch

Decode: TypeAlias = Callable[[Callable[[str], np.ndarray], Iterable[str]], Iterator[np.ndarray]]
"""What ``map`` does."""


def one_thread(task: Task) -> Callable[[], np.ndarray]:
    """Decoding and inference in turns, in one thread; the engine has its own."""
    return loop(task, map)


def a_thread_a_core(task: Task) -> Callable[[], np.ndarray]:
    """The images of a batch are decoded at once."""
    return loop(task, ThreadPoolExecutor(os.cpu_count()).map)


def loop(task: Task, decode: Decode) -> Callable[[], np.ndarray]:
    """The least confident, by logits that are held in memory."""
    transform = Transform(size=task.side, mean=MEAN, std=STD)
    network = build("resnet18", classes=CLASSES, image_size=task.side, seed=0)
    network.load_state_dict(torch.load(task.folder / "network.pt", weights_only=True))

    def image(file: str) -> np.ndarray:
        return load(fetch(file), transform)

    def call() -> np.ndarray:
        engine = make_engine(REFERENCE, ScoringModule(network, transform), size=task.side, batch=task.batch)
        logits = np.empty((len(task.files), CLASSES), dtype=np.float32)
        for at in range(0, len(logits), task.batch):
            pixels = np.stack(list(decode(image, task.files[at : at + task.batch])))
            logits[at : at + task.batch] = engine(pixels).logits
        certainty = torch.softmax(torch.from_numpy(logits), dim=1).amax(dim=1).numpy()
        return np.argsort(certainty, kind="stable")[: task.budget]

    return call


answer("bare", one_thread, a_thread_a_core)
