"""Several models as one ensemble: each one's own pass through the store, added up member by member."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import Model
from foresift.app.passes.columns import Plan, images_of, plan, predict_needed, summed
from foresift.app.passes.fitted import fitted_passes, keep_in, with_fitted
from foresift.app.passes.stored import PassOptions, PassResult, predict_pool
from foresift.app.workspace import Workspace
from foresift.core.arrays import Logits, frozen
from foresift.core.digests import digest_value
from foresift.core.errors import UsageError
from foresift.core.generations import RANDOM_WEIGHTS
from foresift.core.members import State, consensus, state_of
from foresift.core.predictions import Column, Predictions, Producer
from foresift.core.samples import Pool
from foresift.inference.pipeline import PassReport
from foresift.selection.candidates import model_columns
from foresift.stores.generations import read_generation
from foresift.strategies import Strategy

JOINT_COLUMNS = ("members", "member-logits", "logits")
"""What several models give together; embeddings are the first one's."""
ENSEMBLE = "ensemble of "
"""How the stage of such a column begins."""
CONSENSUS = "log of the mean probability of the members"


def predict_models(
    workspace: Workspace,
    pool: Pool,
    models: Sequence[Model],
    strategy: Strategy,
    *,
    labeled: Iterable[Any],
    options: PassOptions,
    also: Sequence[str] = (),
    draws: int | None = None,
) -> tuple[PassResult, dict[str, Any]]:
    """Every column that a strategy needs, by one model or by several, and what a receipt says of these.

    Raises:
        ForesiftError: as :func:`foresift.app.passes.columns.predict_needed`, or :func:`predict_ensemble`.
    """
    if len(models) == 1 and models[0].checkpoint is None:
        result = predict_needed(
            workspace, pool, models[0], strategy, labeled=labeled, options=options, also=also, draws=draws
        )
        return result, model_record(models[0])
    result, producers = predict_ensemble(workspace, pool, models, strategy, labeled=labeled, options=options, also=also)
    return result, record_of(models, producers)


def predict_ensemble(
    workspace: Workspace,
    pool: Pool,
    models: Sequence[Model],
    strategy: Strategy,
    *,
    labeled: Iterable[Any],
    options: PassOptions,
    also: Sequence[str] = (),
) -> tuple[PassResult, list[Producer]]:
    """Every column that a strategy needs, of the samples that all members could use, and who made the members.

    Each member's forward pass is read from the store where it is there; one more member infers only its own.

    Args:
        labeled: m ids, for columns that are fitted to them.
        also: ``logits`` or ``embeddings``, where somebody else reads them.
    Raises:
        UsageError: the strategy needs a column that takes one model.
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    Cost: one member's logits and the state in memory; all logits only for ``member-logits``.
    """
    fitted = fitted_passes(strategy, have=JOINT_COLUMNS)
    check_columns(strategy)
    names = dict.fromkeys((*model_columns(strategy.needs), *also, *(need for one in fitted for need in one.needs)))
    result, producers = predict_together(workspace, pool, models, names=tuple(names), options=options)
    images = images_of(pool, result.predictions)
    keep = keep_in(workspace)
    predictions = with_fitted(result.predictions, fitted, labeled=labeled, keep=keep, images=images)
    return replace(result, predictions=predictions), producers


def predict_together(
    workspace: Workspace, pool: Pool, models: Sequence[Model], *, names: Sequence[str], options: PassOptions
) -> tuple[PassResult, list[Producer]]:
    """What several models say of the samples that all of them could use, and who said it.

    Args:
        names: of :data:`JOINT_COLUMNS`, or ``embeddings`` of the first model.
    Raises:
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    """
    committee = Committee(workspace, pool, names=names, options=options)
    for model in models:
        committee.hear(model)
    return committee.result(), committee.producers


def check_plan(strategy: Strategy, *, members: bool, draws: int | None = None, also: Sequence[str] = ()) -> Plan:
    """The passes that run, or for several models those of each; told before any work.

    Args:
        members: whether there are several models, or checkpoints of one.
        draws, also: as for :func:`foresift.app.passes.columns.plan`.
    Raises:
        ForesiftError: as :func:`foresift.app.passes.columns.plan`; draws of several members.
    """
    if not members:
        return plan(strategy, also=also, draws=draws)
    if draws is not None:
        raise UsageError("--draws makes members of one network with dropout; give it, or several members, not both")
    check_columns(strategy)
    return Plan(forward=("logits",), over_images=(), fitted=())


def check_columns(strategy: Strategy) -> None:
    """Refuse a strategy whose columns several models can't give together; told before an image is read.

    Raises:
        UsageError: it needs a column that a pass of one model makes.
    """
    given = {*JOINT_COLUMNS, "embeddings", *(one.name for one in fitted_passes(strategy, have=JOINT_COLUMNS))}
    if alone := [name for name in model_columns(strategy.needs) if name not in given]:
        raise UsageError(f"{strategy.name} needs the column {alone[0]}, which takes one model; give one --model")


def record_of(models: Sequence[Model], producers: Sequence[Producer]) -> dict[str, Any]:
    """What a receipt says of the models: the first one, and all of them with the producer of their logits."""
    members = [
        {**model_record(model), "producer": asdict(producer)} for model, producer in zip(models, producers, strict=True)
    ]
    return {**model_record(models[0]), "members": members, "logits": CONSENSUS, "embeddings": "of the first member"}


def model_record(model: Model) -> dict[str, Any]:
    """What a receipt says of one model."""
    kept = {} if model.checkpoint is None else {"checkpoint": model.checkpoint.name}
    return {
        "id": model.generation.id if model.checkpoint is None else read_generation(model.folder).id,
        "folder": str(model.folder.absolute()),
        "classes": list(model.generation.classes),
        **({"untrained": True} if model.generation.recipe.get("start") == RANDOM_WEIGHTS else {}),
        **kept,
    }


def is_joint(producer: Producer) -> bool:
    """Whether a column was made of several members."""
    return producer.stage.startswith(ENSEMBLE)


class Joint:
    """What members say together, one after the other: a state, and all logits only where they are asked for."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(name for name in JOINT_COLUMNS if name in names)
        self._state: State | None = None
        self._kept: list[Logits] = []

    def add(self, logits: Logits) -> None:
        """One more member's (n, c) logits."""
        if {"members", "logits"} & set(self._names):
            self._state = state_of([logits], start=self._state)
        if "member-logits" in self._names:
            self._kept.append(logits)

    def take(self, rows: npt.NDArray[np.intp]) -> None:
        """Go on with these rows alone."""
        self._state = None if self._state is None else self._state[rows]
        self._kept = [logits[rows] for logits in self._kept]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The named ones of :data:`JOINT_COLUMNS`."""
        made: dict[str, npt.NDArray[Any]] = {}
        if "member-logits" in self._names:
            made["member-logits"] = np.stack(self._kept, axis=1)
        if self._state is not None:
            made |= {"members": self._state, "logits": consensus(self._state)}
        return {name: made[name] for name in self._names}


class Committee:
    """The passes of all members over one pool."""

    def __init__(self, workspace: Workspace, pool: Pool, *, names: Sequence[str], options: PassOptions) -> None:
        self._workspace, self._pool, self._options = workspace, pool, options
        self._with_embeddings = "embeddings" in names
        self._joint = Joint(names)
        self._parts: list[PassResult] = []
        self.producers: list[Producer] = []

    def hear(self, model: Model) -> None:
        """The pass of one more member; of its predictions only what is needed stays."""
        columns = ("logits", "embeddings") if self._with_embeddings and not self._parts else ("logits",)
        result = predict_pool(self._workspace, self._pool, model, columns=columns, options=self._options)
        logits = result.predictions.columns["logits"]
        rest = {name: column for name, column in result.predictions.columns.items() if name != "logits"}
        bare = replace(result.predictions, columns=rest)
        self._joint.add(self._common(bare, logits.values))
        self.producers.append(logits.producer)
        self._parts.append(replace(result, predictions=bare))

    def _common(self, bare: Predictions, logits: Logits) -> Logits:
        """The member's logits of the samples that it and all before it could use; others are given up."""
        if not self._parts:
            return logits
        before = self._parts[0].predictions
        held = np.flatnonzero(np.isin(before.sample_ids, bare.sample_ids))
        if len(held) < len(before):
            self._joint.take(held)
            self._parts[0] = replace(self._parts[0], predictions=before.take(held))
        rows = np.isin(bare.sample_ids, before.sample_ids[held])
        return logits if rows.all() else logits[rows]

    @property
    def report(self) -> PassReport:
        """What the passes did so far."""
        return summed([part.report for part in self._parts])

    def result(self) -> PassResult:
        """Predictions with the joint columns, and what became of the passes."""
        first = self._parts[0]
        by = _joint_producer(self.producers)
        joint = {name: Column(values=frozen(values), producer=by) for name, values in self._joint.columns().items()}
        return PassResult(
            predictions=replace(first.predictions, columns={**first.predictions.columns, **joint}),
            quarantined=tuple(dict.fromkeys(broken for part in self._parts for broken in part.quarantined)),
            report=self.report,
            choice=first.choice,
            notes=tuple(dict.fromkeys(line for part in self._parts for line in part.notes)),
        )


def _joint_producer(producers: Sequence[Producer]) -> Producer:
    return Producer(
        model=digest_value([producer.digest for producer in producers]),
        stage=f"{ENSEMBLE}{len(producers)}",
        engine=_same([producer.engine for producer in producers]),
        precision=_same([producer.precision for producer in producers]),
    )


def _same(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else "several"
