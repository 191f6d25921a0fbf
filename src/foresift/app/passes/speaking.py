"""What members say of a pool, kept in one file member by member, merged over machines, and looked at closely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.models.opening import Model
from foresift.app.passes.early_stop import StableOrder, in_turn
from foresift.app.passes.stored import PassOptions, predict_pool
from foresift.app.workspace import Workspace
from foresift.core.arrays import Ids, Logits, Values
from foresift.core.ensembles import Spoken
from foresift.core.errors import DataError, UsageError
from foresift.core.samples import Pool
from foresift.kernels.consensus import Consensus
from foresift.kernels.stability import rank_correlation, top_overlap
from foresift.kernels.topk import top_k
from foresift.scores import SCORES
from foresift.stores.ensembles import read_spoken, write_spoken


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a file holds after a call, and how much of it is new."""

    spoken: Spoken
    new: int
    """Members that were added."""


def hear(workspace: Workspace, pool: Pool, models: Sequence[Model], out: Path, *, options: PassOptions) -> Heard:
    """Let members speak of a pool that have not yet, and keep each in the file as soon as it has.

    Raises:
        DataError: the file holds other samples or classes, or is torn.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    Cost: one forward pass a new member; the state and one member's logits in memory.
    """
    spoken = read_spoken(out) if out.is_file() else None
    new = 0
    for model in models:
        if spoken is not None and model.whole_key in spoken.members:
            continue
        ids, logits = _logits(workspace, pool, model, options)
        if spoken is None:
            spoken = Spoken.none(ids, model.generation.classes)
        _check_same(spoken, ids, model, out)
        spoken = spoken.heard(model.whole_key, logits)
        write_spoken(out, spoken)
        new += 1
    if spoken is None:
        raise UsageError("an ensemble needs at least one member")
    return Heard(spoken=spoken, new=new)


def merge_files(files: Sequence[Path], out: Path) -> Spoken:
    """The parts of several files as one.

    Raises:
        UsageError: fewer than two, or parts that do not fit together; names the file.
    """
    if len(files) < 2:
        raise UsageError("give two files or more to merge")
    whole = read_spoken(files[0])
    for file in files[1:]:
        try:
            whole = whole.merged(read_spoken(file))
        except UsageError as error:
            raise UsageError(f"{file}: {error}") from None
    write_spoken(out, whole)
    return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """How members agree, and how many of them it takes."""

    members: int
    samples: int
    joint: tuple[int, ...]
    """Samples on which the last 1, 2, .. members agree."""
    pairs: tuple[int, ...]
    """Samples on which two members in a row agree, from the last one back."""
    enough: int
    """Members after which an early stop would ask no more (heard one of each run in turn); all, if it never held."""
    settled: bool
    overlap: float
    """Share of the k largest by so many members that all members put there too."""
    correlation: float
    """Rank correlation of all scores by so many members with those by all."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def analyse(
    workspace: Workspace,
    pool: Pool,
    models: Sequence[Model],
    *,
    score: str,
    k: int,
    options: PassOptions,
    rule: StableOrder | None = None,
) -> Analysis:
    """Agreement of the members from the last one back, and what an early stop would leave out and cost.

    Args:
        rule: of the early stop; None = as it is by default.
    Raises:
        UsageError: a score that does not read members alone, or k out of range.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    Cost: two passes over what the members said; it is read from the store where it is there.
    """
    chosen = SCORES.get(score)
    if chosen.needs != ("members",):
        raise UsageError(f"{score} needs {', '.join(chosen.needs)}; give a score of members alone (mutual-information)")
    consensus = _agreement(_each(workspace, pool, list(reversed(models)), options))
    n = consensus.joint[0]
    if not 1 <= k <= n:
        raise UsageError(f"budget {k} must be within 1 .. {n}, the samples")
    settled = (rule or StableOrder()).watch(k)
    spoken = Spoken.none(np.arange(n), models[0].generation.classes)
    early: Values | None = None
    enough = 0
    values: Values = np.zeros(n)
    for number, logits in enumerate(_each(workspace, pool, in_turn(models), options), start=1):
        spoken = spoken.heard(str(number), logits)
        values = chosen(spoken.state)
        if number > 1 and settled.add(values) and early is None:  # one member disagrees with nobody
            early, enough = values, number
    early, enough = (values, len(models)) if early is None else (early, enough)
    return Analysis(
        members=len(models),
        samples=n,
        joint=consensus.joint,
        pairs=consensus.pairs,
        enough=enough,
        settled=enough < len(models),
        overlap=top_overlap(top_k(values, k), top_k(early, k)),
        correlation=rank_correlation(early, values),
    )


def _agreement(said: Iterator[Logits]) -> Consensus:
    first = next(said)
    consensus = Consensus(len(first))
    for logits in chain([first], said):
        consensus.add(logits.argmax(axis=1))
    return consensus


def _each(workspace: Workspace, pool: Pool, models: Sequence[Model], options: PassOptions) -> Iterator[Logits]:
    """(n, c) of one member after the other, of the same samples.

    Raises:
        DataError: a member could not use an image that the others could.
    """
    known: Ids | None = None
    for model in models:
        ids, logits = _logits(workspace, pool, model, options)
        if known is not None and not np.array_equal(known, ids):
            raise DataError(f"{model.folder} could not use the same images as the members before it; leave it out")
        known = ids
        yield logits


def _logits(workspace: Workspace, pool: Pool, model: Model, options: PassOptions) -> tuple[Ids, Logits]:
    predictions = predict_pool(workspace, pool, model, columns=("logits",), options=options).predictions
    return predictions.sample_ids, predictions.column("logits")


def _check_same(spoken: Spoken, ids: Ids, model: Model, out: Path) -> None:
    if spoken.classes != model.generation.classes:
        raise DataError(f"{out} holds what members of other classes than those of {model.folder} said; choose another")
    if not np.array_equal(spoken.sample_ids, ids):
        raise DataError(f"{out} holds {len(spoken.sample_ids)} samples that are not those of this pool; choose another")
