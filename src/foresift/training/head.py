"""Heads on stored embeddings: trained in seconds, without a pass through the backbone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from torch import nn
from torch.nn import functional

from foresift.core.arrays import Embeddings, first_nonfinite_row
from foresift.core.errors import ModelError, NonFiniteError, UsageError
from foresift.kernels.softmax_head import fit_softmax
from foresift.training.data import Codes, check_codes
from foresift.training.isolation import isolated
from foresift.training.recipe import head_width

Matrix = npt.NDArray[np.float64]

L2_GRID = (1e-4, 1e-3, 1e-2, 1e-1)
"""Penalties that are tried, weakest first; the loss is a mean over samples."""
HOLD_OUT_FROM = 50
"""With fewer rows a held-out fifth says nothing; then 0.01 is taken."""
SEARCH_ROWS = 5_000
MLP_EPOCHS, MLP_STEPS = 15, 600
"""At least so many; few rows need more epochs to make the steps."""
MLP_BATCH = 256


def fit_head(
    embeddings: Embeddings,
    codes: Codes,
    *,
    classes: int,
    head: str = "linear",
    seed: int = 0,
    l2: float | None = None,
) -> nn.Module:
    """A trained head that takes raw embeddings: ``nn.Linear``, or ``nn.Sequential`` for ``mlp:WIDTH``.

    Training works on standardised embeddings; mean and spread are folded into the first layer.

    Args:
        embeddings: (n, d), finite.
        codes: (n,) within 0 .. classes - 1; a class may be absent.
        l2: penalty l2/2 ||W||^2 on standardised embeddings against the mean loss; None = chosen on a
            held-out fifth of the rows (linear), 0.001 as AdamW's weight decay (MLP).
    Raises:
        UsageError, LabelError: shapes or codes that do not fit.
        NonFiniteError: NaN or infinity in the embeddings.
    """
    if embeddings.ndim != 2:
        raise UsageError(f"embeddings must have shape (n, d), got {embeddings.shape}")
    check_codes(codes, count=len(embeddings), classes=classes)
    if (bad := first_nonfinite_row(embeddings)) is not None:
        raise NonFiniteError(f"row {bad}: the embedding is not finite; leave the sample out")
    mean, spread = _moments(embeddings)
    standard = (embeddings.astype(np.float64) - mean) / spread
    width = head_width(head)
    if width is None:
        fitted: nn.Module = _linear(standard, codes, classes=classes, seed=seed, l2=l2)
    else:
        fitted = _mlp(standard, codes, classes=classes, width=width, seed=seed, l2=l2)
    return _folded(fitted, mean, spread)


def _linear(rows: Matrix, codes: Codes, *, classes: int, seed: int, l2: float | None) -> nn.Linear:
    start = None
    if l2 is None:
        l2, start = _chosen_l2(rows, codes, classes=classes, seed=seed)
    both = fit_softmax(rows, codes, classes=classes, l2=l2, start=start, tolerance=1e-5)
    layer = nn.Linear(rows.shape[1], classes, dtype=torch.float64, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(both[:, :-1]))
        layer.bias.copy_(torch.from_numpy(both[:, -1]))
    return layer


def _chosen_l2(rows: Matrix, codes: Codes, *, classes: int, seed: int) -> tuple[float, Matrix | None]:
    """The penalty of the least cross-entropy on a held-out fifth, and where to start with it.

    The strongest penalty is fitted first; each weaker one starts from the solution before it.
    """
    if len(rows) < HOLD_OUT_FROM:
        return 1e-2, None
    order = np.random.default_rng(seed).permutation(len(rows))[:SEARCH_ROWS]
    held, kept = order[: len(order) // 5], order[len(order) // 5 :]
    both: Matrix | None = None
    tried: list[tuple[float, float, Matrix]] = []
    for l2 in reversed(L2_GRID):
        both = fit_softmax(rows[kept], codes[kept], classes=classes, l2=l2, start=both, tolerance=1e-4)
        log_probs = log_softmax(rows[held] @ both[:, :-1].T + both[:, -1], axis=1)
        tried.append((-float(log_probs[np.arange(len(held)), codes[held]].mean()), l2, both))
    _, best, solution = min(tried, key=lambda trial: trial[0])
    return best, solution


def _mlp(rows: Matrix, codes: Codes, *, classes: int, width: int, seed: int, l2: float | None) -> nn.Sequential:
    inputs = torch.from_numpy(rows.astype(np.float32))
    truth = torch.from_numpy(np.asarray(codes, dtype=np.int64))
    with isolated(seed):
        head = nn.Sequential(nn.Linear(rows.shape[1], width), nn.ReLU(), nn.Linear(width, classes))
        decay = 1e-3 if l2 is None else l2
        optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=decay, fused=True)
        batches = -(-len(rows) // MLP_BATCH)
        epochs = max(MLP_EPOCHS, -(-MLP_STEPS // batches))
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(rows)), MLP_BATCH):
                loss = functional.cross_entropy(head(inputs[batch]), truth[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rates.step()
    if not bool(torch.isfinite(loss)):
        raise ModelError("the head's loss is no longer finite; check the embeddings for extreme values")
    return head


def _moments(embeddings: Embeddings) -> tuple[Matrix, Matrix]:
    """(d,) mean and standard deviation; dead units get a spread of 1."""
    mean = embeddings.mean(axis=0, dtype=np.float64)
    spread = embeddings.std(axis=0, dtype=np.float64)
    return mean, np.where(spread > 1e-8, spread, 1.0)


def _folded(head: nn.Module, mean: Matrix, spread: Matrix) -> nn.Module:
    """The same head for raw embeddings: W (x - mean) / spread + b = (W / spread) x + (b - W mean / spread)."""
    first: Any = head if isinstance(head, nn.Linear) else next(iter(head.children()))
    with torch.no_grad():
        weight = first.weight.double() / torch.from_numpy(spread)
        bias = first.bias.double() - weight @ torch.from_numpy(mean)
        first.weight.copy_(weight)
        first.bias.copy_(bias)
    return head.float().eval()
