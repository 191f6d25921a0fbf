"""Training loops of a transfer study: directly on tensors in memory, hundreds of short trainings a minute."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foresift.studies.surrogates.protocol import Lessons
from foresift.training.isolation import isolated

WARM_UP = 0.15
"""Share of the steps in which the rate of a one-cycle schedule rises."""
POLY_POWER = 0.9
Step = Callable[[Tensor, float, int], Tensor]
"""((b,) rows, share of the steps done, number of the step) -> what is made small."""


def optimise(module: nn.Module, step: Step, *, count: int, lessons: Lessons, seed: int) -> None:
    """Train ``module`` in place on ``count`` labeled rows; it ends in evaluation mode.

    Every draw comes from ``seed``; the caller's random state stays as it was.

    Args:
        step: the loss of some rows 0 .. count - 1, differentiable.
    """
    batches = max(1, count // lessons.batch)
    total = lessons.epochs * batches
    device = next(module.parameters()).device
    mixed = lessons.precision == "bf16"
    with isolated(seed):
        if mixed:  # convolutions in bfloat16 are written for this order
            module.to(memory_format=torch.channels_last)
        optimizer = _optimizer(module, lessons)
        module.train()
        for number, rows in enumerate(_orders(count, batches, lessons)):
            rate = lessons.lr * rate_share(lessons.optimizer, number, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
                loss = step(rows.to(device), number / total, number)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    module.eval()


def rate_share(optimizer: str, number: int, total: int) -> float:
    """The rate of step 0 .. total - 1 as a share of the peak: a warm-up and half a cosine, or a polynomial (sgd)."""
    if optimizer == "sgd":
        return float((1 - number / total) ** POLY_POWER)
    warm = max(1, round(WARM_UP * total))
    if number < warm:
        return (number + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (number - warm) / max(1, total - warm)))


def device_of_study() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def in_chunks(count: int, size: int, forward: Callable[[slice], Tensor]) -> npt.NDArray[np.float32]:
    """Outputs of ``count`` rows, ``size`` at a time, without gradients."""
    with torch.inference_mode():
        parts = [forward(slice(start, start + size)).float().cpu() for start in range(0, count, size)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def _orders(count: int, batches: int, lessons: Lessons) -> Iterator[Tensor]:
    """The rows of every step; what does not fill a batch is left out of that epoch."""
    for _ in range(lessons.epochs):
        order = torch.randperm(count)
        for at in range(batches):
            yield order[at * lessons.batch : (at + 1) * lessons.batch]


def _optimizer(module: nn.Module, lessons: Lessons) -> Any:
    """Weight decay for matrices and kernels only; biases and norms are free."""
    free = [p for p in module.parameters() if p.ndim < 2]
    rest = [p for p in module.parameters() if p.ndim >= 2]
    groups = [{"params": rest, "weight_decay": lessons.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if lessons.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lessons.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=lessons.lr, fused=True)
