"""Who the members of an ensemble are: models, the kept checkpoints of models, or a list of both in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from foresift.app.models.opening import Model, at_checkpoint, open_model, remembered_digest, require_head
from foresift.app.workspace import Workspace
from foresift.core.ensembles import Ensemble, Member
from foresift.core.errors import ForesiftError, ModelError, UsageError
from foresift.core.generations import CHECKPOINTS
from foresift.stores.ensembles import LIST, ensemble_file, read_ensemble, write_ensemble
from foresift.stores.generations import read_generation


def open_members(workspace: Workspace, specs: Sequence[str | Path], *, checkpoints: str = "") -> list[Model]:
    """The models behind folders, ids and lists of members, or the kept checkpoints of these models.

    Args:
        checkpoints: ``all`` or ``last=N`` of each model; empty = the models themselves.
    Raises:
        UsageError: no model, one twice, different classes or transforms.
        ModelError: as :func:`foresift.app.models.opening.open_model`; no checkpoint was kept, or one was damaged.
    """
    models: list[Model] = []
    for spec in specs:
        if (listed := ensemble_file(spec)) is not None:
            if checkpoints:
                raise UsageError(f"{spec} lists its members already; --checkpoints goes with generations")
            models += listed_members(workspace, listed)
            continue
        model = open_model(workspace, spec)
        models += _checkpoints(workspace, model, checkpoints) if checkpoints else [model]
    return check_members(models)


def is_ensemble(spec: str | Path) -> bool:
    """Whether a folder or file lists the members of an ensemble."""
    return ensemble_file(spec) is not None


def listed_members(workspace: Workspace, path: Path) -> list[Model]:
    """The models of a list, each of them checked against it.

    Raises:
        ModelError: a member is gone, or is another than the one that was listed; names it.
    """
    ensemble = read_ensemble(path)
    return [_listed(workspace, path, member) for member in ensemble.members]


def make_ensemble(workspace: Workspace, specs: Sequence[str | Path], *, out: Path, checkpoints: str = "") -> Ensemble:
    """The list of the members behind specs, written to ``out/ensemble.json``; refused before any image is read.

    Raises:
        ForesiftError: as :func:`open_members`.
    """
    models = open_members(workspace, specs, checkpoints=checkpoints)
    for model in models:
        require_head(model, "a member of an ensemble")
    first = models[0].generation
    ensemble = Ensemble(
        members=tuple(_member(model, out) for model in models), classes=first.classes, transform=first.transform
    )
    write_ensemble(out / LIST, ensemble)
    return ensemble


def check_members(models: list[Model]) -> list[Model]:
    """The models, once they can be members of one ensemble.

    Raises:
        UsageError: no model, one twice, or different classes or transforms.
    """
    if not models:
        raise UsageError("an ensemble needs at least one model")
    first = models[0]
    for model in models[1:]:
        if model.generation.classes != first.generation.classes:
            raise UsageError(
                f"the members of an ensemble need the same classes in the same order: {first.folder} has "
                f"{_classes(first)}, {model.folder} has {_classes(model)}"
            )
        if model.generation.transform != first.generation.transform:
            raise UsageError(
                f"the members of an ensemble need the same transform: {first.folder} takes "
                f"{first.generation.transform.size} px, {model.folder} {model.generation.transform.size} px, or their "
                "resizing or normalisation differs"
            )
    _refuse_twice(models)
    return models


def _refuse_twice(models: Sequence[Model]) -> None:
    seen: dict[str, Model] = {}
    for model in models:
        if (other := seen.setdefault(model.whole_key, model)) is not model:
            raise UsageError(f"{model.folder} is the same model as {other.folder}; give different members")


def _member(model: Model, out: Path) -> Member:
    """A model as a line of a list, its folder seen from where the list lies."""
    folder = Path(os.path.relpath(model.folder.absolute(), out.absolute()))
    name = "" if model.checkpoint is None else model.checkpoint.name
    recorded = read_generation(model.folder)
    return Member(folder=str(folder), generation=recorded.id, weights=model.generation.weights, checkpoint=name)


def _listed(workspace: Workspace, path: Path, member: Member) -> Model:
    """A member where the list says it lies, else wherever the workspace knows its generation."""
    try:
        there = path.parent / member.folder
        model = open_model(workspace, there if there.is_dir() else member.generation)
        if model.generation.id != member.generation:
            raise ModelError(f"{model.folder} holds another generation than the one that was listed")
        if not member.checkpoint:
            return model
        return _checkpoint(workspace, model, member.checkpoint)
    except ForesiftError as error:
        raise ModelError(f"member {member.name} of {path}: {error}") from None


def _checkpoints(workspace: Workspace, model: Model, which: str) -> list[Model]:
    names = sorted(model.generation.checkpoints)
    if not names:
        raise ModelError(
            f"{model.folder} kept no checkpoints; train it with --checkpoints or --keep-checkpoints N, "
            "or give several models"
        )
    return [_checkpoint(workspace, model, name) for name in names[-_how_many(which, len(names)) :]]


def _how_many(which: str, there: int) -> int:
    if which == "all":
        return there
    text = which.removeprefix("last=")
    if text == which or not text.isdecimal() or not 1 <= int(text) <= there:
        raise UsageError(f"--checkpoints {which}: expected all, or last=N with N within 1 .. {there}, those kept")
    return int(text)


def _checkpoint(workspace: Workspace, model: Model, name: str) -> Model:
    """The generation with the weights of one epoch; its further parts belong to the last one's.

    Raises:
        ModelError: the file is gone, or not the one that was recorded.
    """
    path = model.folder / CHECKPOINTS / name
    if not path.is_file():
        raise ModelError(f"{path} is gone; put it back or train again")
    found = at_checkpoint(model, path)
    if remembered_digest(workspace, path) != found.generation.weights:
        raise ModelError(f"{path} is not the file that the generation was recorded with; restore it or train again")
    return found


def _classes(model: Model) -> str:
    classes = model.generation.classes
    return f"{len(classes)} classes ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})"
