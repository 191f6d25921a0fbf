"""What learns from the labels in a comparison of strategies: a head on cached embeddings, a small CNN.

A learner gives every column that a strategy may ask for, for the whole pool, from the labels
bought so far; columns are made when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from foresift.core.arrays import Embeddings, Logits, Rows, frozen
from foresift.core.errors import MissingColumnError
from foresift.core.predictions import Column, Predictions, Producer
from foresift.studies.image_sets import ImageSet

Array = npt.NDArray[Any]
STUDY = Producer(model="study", stage="study")
MEMBERS = 8
"""Heads on bootstrap samples of the labels: the committee of the ensemble scores."""
FOLDS = 5
DRAWS, NOISE = 10, 0.1
"""Noisy copies of the head, and their noise as a share of the weights' norm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """One trained model: how good it is, and columns of the pool made on demand."""

    accuracy: float
    """On the test part, within [0, 1]."""
    columns: Mapping[str, Callable[[], Array]]
    """Column name to what makes it, n rows in pool order."""

    def predictions(self, ids: Array, needs: tuple[str, ...]) -> Predictions:
        """The needed columns of the whole pool.

        Raises:
            MissingColumnError: this learner has no such column.
        """
        if missing := [name for name in needs if name not in self.columns]:
            raise MissingColumnError(f"a study on this learner has no column {missing[0]}")
        made = {name: Column(values=frozen(self.columns[name]()), producer=STUDY) for name in needs}
        return Predictions(sample_ids=ids, columns=made)


class Learner(Protocol):
    """Learns from labeled rows of one image set."""

    @property
    def name(self) -> str:
        """``head`` or ``cnn``."""
        ...

    def start(self) -> Mapping[str, Callable[[], Array]]:
        """Columns that need no label at all."""
        ...

    def learn(self, rows: Rows, *, seed: int) -> Learned:
        """A model trained from scratch on the given rows of the pool."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLearner:
    """Multinomial logistic regression on embeddings that were cached once."""

    images: ImageSet
    embeddings: Embeddings
    test_embeddings: Embeddings
    name: str = "head"

    def start(self) -> Mapping[str, Callable[[], Array]]:
        """The embeddings."""
        return {"embeddings": lambda: self.embeddings}

    def learn(self, rows: Rows, *, seed: int) -> Learned:
        """A head on the labeled rows, and what follows from it."""
        head = self._fit(rows, seed=seed)
        test = _apply(head, self.test_embeddings)
        return Learned(
            accuracy=float((test.argmax(axis=1) == self.images.test_codes).mean()),
            columns={
                **self.start(),
                "logits": lambda: _apply(head, self.embeddings),
                "member-logits": lambda: self._members(rows, seed=seed),
                "members": lambda: _members_state(self._members(rows, seed=seed)),
                "flip-distance": lambda: flip_distance(head, self.embeddings),
                "deviations": lambda: self._deviations(head, seed=seed),
                "predicted-loss": lambda: self._predicted_loss(rows, seed=seed),
            },
        )

    def _fit(self, rows: Rows, *, seed: int) -> Array:
        """(c, d + 1) weights and biases."""
        import torch

        from foresift.training.head import fit_head

        codes = self.images.codes[rows]
        head = fit_head(self.embeddings[rows], codes, classes=len(self.images.classes), seed=seed)
        with torch.no_grad():
            weight, bias = head.weight.numpy(), head.bias.numpy()  # type: ignore[operator]
        return np.concatenate([weight, bias[:, None]], axis=1)

    def _members(self, rows: Rows, *, seed: int) -> Array:
        """(n, e, c) logits of heads on bootstrap samples."""
        rng = np.random.default_rng([seed, len(rows)])
        heads = [self._fit(np.sort(rng.choice(rows, len(rows))), seed=seed + e) for e in range(MEMBERS)]
        return np.stack([_apply(head, self.embeddings) for head in heads], axis=1)

    def _deviations(self, head: Array, *, seed: int) -> Array:
        """(n, draws * c) changes of the logits under noise on the head's weights."""
        rng = np.random.default_rng([seed, 7])
        parts = []
        for _ in range(DRAWS):
            noise = rng.normal(size=head.shape)
            noise *= NOISE * np.linalg.norm(head) / np.linalg.norm(noise)
            parts.append(_apply(noise, self.embeddings))
        return np.concatenate(parts, axis=1)

    def _predicted_loss(self, rows: Rows, *, seed: int) -> Array:
        """(n,) what a small network on the embeddings, trained to rank held-out losses, expects.

        The head is the whole model here: its losses come from heads that did not see the row.
        """
        folds = np.random.default_rng([seed, 5]).integers(FOLDS, size=len(rows))
        losses = np.zeros(len(rows), dtype=np.float32)
        for fold in range(FOLDS):
            held = rows[folds == fold]
            if len(held) and (folds != fold).any():
                logits = _apply(self._fit(rows[folds != fold], seed=seed), self.embeddings[held]).astype(np.float64)
                losses[folds == fold] = (
                    logsumexp(logits, axis=1) - logits[np.arange(len(held)), self.images.codes[held]]
                )
        return loss_ranks(self.embeddings, rows, losses, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class CnnLearner:
    """A small network trained from scratch on the pixels."""

    images: ImageSet
    cold: Embeddings
    """Embeddings for the start, before there is a network."""
    folder: Path
    architecture: str = "cnn:16"
    steps: int = 600
    name: str = "cnn"

    def start(self) -> Mapping[str, Callable[[], Array]]:
        """The cached embeddings: nothing else exists without a label."""
        return {"embeddings": lambda: self.cold}

    def learn(self, rows: Rows, *, seed: int) -> Learned:
        """A network, its logits and its own embeddings."""
        network = self._train(rows, seed=seed)
        test, _ = self._forward(network, self.images.test_pixels)
        logits, embeddings = self._forward(network, self.images.pixels)
        return Learned(
            accuracy=float((test.argmax(axis=1) == self.images.test_codes).mean()),
            columns={"logits": lambda: logits, "embeddings": lambda: embeddings},
        )

    def _train(self, rows: Rows, *, seed: int) -> Any:
        import tempfile

        from foresift.models import build
        from foresift.training.data import ArrayImages
        from foresift.training.recipe import Recipe
        from foresift.training.supervised import train

        batch = 64
        epochs = max(15, self.steps // max(1, -(-len(rows) // batch)))
        recipe = Recipe(epochs=min(100, epochs), batch_size=batch, augment="flip-crop", schedule="onecycle")
        size = self.images.transform.size
        network = build(self.architecture, classes=len(self.images.classes), image_size=size, seed=seed)
        labeled = ArrayImages.from_array(self.images.pixels[rows], self.images.transform)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            train(network, labeled, self.images.codes[rows], recipe=recipe, seed=seed, folder=Path(scratch))
        return network

    def _forward(self, network: Any, pixels: Array) -> tuple[Logits, Embeddings]:
        from foresift.engines import make_engine
        from foresift.models import ScoringModule

        batch = 250
        engine = make_engine(
            "torch-f32", ScoringModule(network, self.images.transform), size=self.images.transform.size, batch=batch
        )
        outputs = [engine(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
        return np.concatenate([o.logits for o in outputs]), np.concatenate([o.embeddings for o in outputs])


def loss_ranks(embeddings: Embeddings, rows: Rows, losses: Array, *, seed: int, steps: int = 400) -> Array:
    """(n,) predicted losses of every row, by the ranking loss of Yoo and Kweon 2019 on the labeled ones."""
    import torch
    from torch import nn

    from foresift.training.isolation import isolated
    from foresift.training.objectives import ranking_loss

    spread = embeddings.std(axis=0) + 1e-6
    inputs = torch.from_numpy(((embeddings - embeddings.mean(axis=0)) / spread).astype(np.float32))
    truth, at = torch.from_numpy(losses), torch.from_numpy(rows)
    with isolated(seed):
        network = nn.Sequential(nn.Linear(inputs.shape[1], 128), nn.ReLU(), nn.Linear(128, 1))
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        for _ in range(steps):
            batch = torch.randint(len(at), (128,))
            loss = ranking_loss(network(inputs[at[batch]])[:, 0], truth[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.inference_mode():
            predicted: Array = network(inputs)[:, 0].numpy()
    return predicted


def flip_distance(head: Array, embeddings: Embeddings) -> Array:
    """(n,) distance of each embedding to the nearest face of its class's region under a linear head.

    Source: Moosavi-Dezfooli et al. 2016, eq. 9; exact for a linear head.
    """
    logits = _apply(head, embeddings).astype(np.float64)
    top = logits.argmax(axis=1)
    gaps = logits[np.arange(len(logits)), top][:, None] - logits
    between = np.linalg.norm(head[:, None, :-1] - head[None, :, :-1], axis=2)[top]
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.where(between > 0, gaps / between, np.inf)
    distances[np.arange(len(logits)), top] = np.inf
    nearest = distances.min(axis=1)
    return np.where(np.isfinite(nearest), nearest, 0.0).astype(np.float32)


def _apply(head: Array, embeddings: Embeddings) -> Array:
    return (embeddings @ head[:, :-1].T + head[:, -1]).astype(np.float32)


def _members_state(logits: Array) -> Array:
    """The streamed state of (n, e, c) member logits."""
    ids = np.arange(len(logits))
    made = Predictions.from_arrays(ids, member_logits=logits.transpose(1, 0, 2))
    return made.column("members")
