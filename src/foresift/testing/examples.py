"""Small pools on which laws are tried, and how a broken law is reported."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Ids, frozen
from foresift.core.errors import UsageError
from foresift.core.predictions import Column, Predictions
from foresift.kernels.patch_grid import cells_of
from foresift.kernels.patch_rows import pack

CaseT = TypeVar("CaseT")
SIZE = 24
"""Samples in the pool that most laws are tried on."""
CLASSES = 5
MEMBERS = 4


class BrokenLawError(AssertionError):
    """A plug-in breaks a law; ``law`` is its name."""

    def __init__(self, law: str, why: str) -> None:
        super().__init__(f"{law}: {why}")
        self.law = law


class MakePredictions(Protocol):
    """Builds predictions with every column that a strategy under test needs."""

    def __call__(self, rng: np.random.Generator, n: int, *, classes: int) -> Predictions:
        """n rows with distinct ids, in any order."""
        ...


def make_predictions(rng: np.random.Generator, n: int, *, classes: int) -> Predictions:
    """n rows in shuffled order of id, with every column that a built-in strategy needs.

    Logits (n, classes) are multiples of 1/16, so that adding such a number to a row is exact;
    embeddings are (n, 8) or wider, and a linear layer leads from them to the logits, as at the end of a
    network; both are float32. Four members, whose logits are multiples of 1/16 too, are an
    ensemble of their own: columns ``members`` and ``member-logits``.
    """
    ids = [f"s{number:04d}" for number in rng.permutation(n)]
    logits = np.round(rng.normal(scale=3, size=(n, classes)) * 16) / 16
    embeddings = before_last_layer(rng.normal(size=(n, max(8, classes))), logits)
    made = Predictions.from_arrays(ids, logits=logits.astype(np.float32), embeddings=embeddings.astype(np.float32))
    others: dict[str, npt.NDArray[Any]] = {
        "flip-distance": rng.exponential(size=n),
        "deviations": rng.normal(size=(n, 6)),
        "predicted-loss": rng.normal(size=n),
        "patch-grid": _grids(rng, n),
        "unlabeled-probability": rng.uniform(size=n),
        "gcn-embeddings": rng.normal(size=(n, 4)),
        "member-logits": rng.normal(size=(n, 4, classes)),
    }
    columns = {name: Column(values=frozen(values.astype(np.float32))) for name, values in others.items()}
    return replace(made, columns={**made.columns, **columns, **_members(rng, ids, classes)})


def _members(rng: np.random.Generator, ids: list[str], classes: int) -> Mapping[str, Column]:
    logits = np.round(rng.normal(scale=3, size=(MEMBERS, len(ids), classes)) * 16) / 16
    made = Predictions.from_arrays(ids, member_logits=logits.astype(np.float32))
    return {name: made.columns[name] for name in ("members", "member-logits")}


def _grids(rng: np.random.Generator, n: int) -> npt.NDArray[np.float32]:
    """(n, width) grids of images of two sizes."""
    sizes = [(40, 70), (33, 20)]
    return pack([cells_of(rng.exponential(size=sizes[row % 2])) for row in range(n)])


def class_codes_of(ids: Ids, *, classes: int) -> npt.NDArray[np.int64]:
    """(n,) class codes that depend on the id alone, so that they follow any order of rows."""
    return np.array([zlib.crc32(str(sample).encode()) % classes for sample in ids.tolist()], dtype=np.int64)


def classes_in(predictions: Predictions) -> int:
    """Number of classes of the logits; ``CLASSES`` where there are none."""
    return predictions.column("logits").shape[1] if "logits" in predictions.columns else CLASSES


def in_order(predictions: Predictions) -> Predictions:
    """The same rows in ascending order of id."""
    return predictions.take(np.argsort(predictions.sample_ids, kind="stable"))


def before_last_layer(embeddings: npt.NDArray[Any], logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Embeddings whose first numbers are the logits within [-1, 1], so that these are linear in them."""
    if embeddings.shape[1] < logits.shape[1]:
        return embeddings
    made = np.array(embeddings)
    made[:, : logits.shape[1]] = logits / max(1.0, float(np.abs(logits).max(initial=0)))
    return made


def with_logits(predictions: Predictions, logits: npt.NDArray[Any]) -> Predictions:
    """The same predictions with other logits, and embeddings that lead to them, where there are any."""
    changed = {"logits": replace(predictions.columns["logits"], values=logits)}
    if "embeddings" in predictions.columns:
        values = frozen(before_last_layer(predictions.column("embeddings"), logits))
        changed["embeddings"] = replace(predictions.columns["embeddings"], values=values)
    return replace(predictions, columns={**predictions.columns, **changed})


def spoiled(column: npt.NDArray[Any], *, row: int) -> dict[str, npt.NDArray[Any]]:
    """Copies of a column with NaN in one row: of a structured one, a copy for each field that holds floats."""
    if column.dtype.kind == "f":
        return {"": _with_nan(column, row)}
    if column.dtype.names is None:
        return {}
    copies = {}
    for name in [name for name in column.dtype.names if column.dtype[name].base.kind == "f"]:
        copies[name] = np.array(column)
        copies[name][name] = _with_nan(column[name], row)
    return copies


def _with_nan(values: npt.NDArray[Any], row: int) -> npt.NDArray[Any]:
    copy = np.array(values)
    copy[row] = np.nan
    return copy


def extreme_logits(rng: np.random.Generator, predictions: Predictions) -> Predictions:
    """The same predictions with logits of -10,000, 0 and 10,000, all equal in the first row."""
    logits = rng.choice(np.array([-1e4, 0, 1e4], dtype=np.float32), size=predictions.column("logits").shape)
    logits[0] = 1e4
    return with_logits(predictions, logits)


def shifted_pair(rng: np.random.Generator, predictions: Predictions) -> tuple[Predictions, Predictions]:
    """Predictions whose logits are multiples of 1/16, and the same with a constant added to each row."""
    logits = (np.round(np.clip(predictions.column("logits"), -64, 64) * 16) / 16).astype(np.float32)
    constants = rng.integers(-128, 128, size=(len(predictions), 1)).astype(np.float32) / 16
    return with_logits(predictions, logits), with_logits(predictions, logits + constants)


def check_laws(laws: Mapping[str, Callable[[CaseT], None]], case: CaseT, *, only: Iterable[str] | None = None) -> None:
    """Try laws in their order, from causes to consequences; the first broken one ends it.

    Raises:
        BrokenLawError: names the law; an unexpected error inside of a law counts as breaking it.
        UsageError: ``only`` names a law that does not exist.
    """
    for name in laws if only is None else list(only):
        if name not in laws:
            raise UsageError(f"no law {name!r} (laws: {', '.join(laws)})")
        try:
            laws[name](case)
        except BrokenLawError:
            raise
        except Exception as error:
            raise BrokenLawError(name, f"{type(error).__name__}: {error}") from error


def hold(condition: bool, law: str, why: str) -> None:
    """Raise :class:`BrokenLawError` unless the condition holds."""
    if not condition:
        raise BrokenLawError(law, why)
