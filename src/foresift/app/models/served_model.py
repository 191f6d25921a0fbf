"""The model that a server scores with, from what its configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foresift.app.models.adopting import adopt_weights, adopted_transform
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes, digest_value
from foresift.core.errors import MissingExtraError, ModelError, UsageError
from foresift.core.generations import RANDOM_WEIGHTS, Transform
from foresift.stores.files import disk_errors
from foresift.stores.generations import is_generation, read_generation

try:
    from foresift.models import build, canonical, save_generation, weights
    from foresift.models.embedding import head_path
    from foresift.models.registry import pretrained_classes
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("serving a model", "vision") from error

RANDOM = "random"
RANDOM_CLASSES = 10


def served_model(
    workspace: Workspace,
    name: str,
    given: str | None,
    *,
    base: Path,
    image_size: int | None = None,
    classes: Sequence[str] = (),
) -> Path:
    """The generation folder to score with; made in the workspace where the weights are no generation.

    Args:
        name: an architecture, for weights that are no generation.
        given: a generation (folder or id), a weights file, ``random``, or None for the published weights of ``name``.
        base: relative paths start here.
    Raises:
        ModelError: no such weights, they do not fit, or the published ones can't be had here.
    """
    if given is None:
        return _published(workspace, name, image_size=image_size)
    if given == RANDOM:
        return _untrained(workspace, name, image_size=image_size, classes=classes)
    path = base / Path(given).expanduser()
    if path.is_file():
        return _from_file(workspace, name, path, image_size=image_size, classes=classes)
    if is_generation(path):
        workspace.note_generation(read_generation(path), path)
        return path
    return workspace.generation_folder(given)


def _published(workspace: Workspace, name: str, *, image_size: int | None) -> Path:
    try:
        transform = adopted_transform(name, pretrained=True, changes={} if image_size is None else {"size": image_size})
        out = _folder(workspace, "published", [name, transform.digest])
        if not is_generation(out):
            names = tuple(str(code) for code in range(pretrained_classes(name)))
            adopt_weights(workspace, None, model=name, classes=names, transform=transform, out=out, pretrained=True)
    except ModelError as error:
        raise ModelError(
            f"no weights to score with: {error}; name trained ones with `weights:` (a generation folder or a weights "
            "file), or write `weights: random` to try the server with an untrained network"
        ) from None
    return out


def _untrained(workspace: Workspace, name: str, *, image_size: int | None, classes: Sequence[str]) -> Path:
    names = tuple(classes) or tuple(str(code) for code in range(RANDOM_CLASSES))
    transform = Transform(size=image_size or 224)
    out = _folder(workspace, RANDOM, [name, transform.digest, list(names)])
    if not is_generation(out):
        network = build(name, classes=len(names), image_size=transform.size, seed=0)
        generation = save_generation(
            out,
            network,
            architecture=canonical(name),
            classes=names,
            transform=transform,
            recipe={"start": RANDOM_WEIGHTS, "train": "none"},
        )
        workspace.note_generation(generation, out)
    return out


def _from_file(workspace: Workspace, name: str, path: Path, *, image_size: int | None, classes: Sequence[str]) -> Path:
    with disk_errors(path):
        digest = digest_bytes(path.read_bytes())
    transform = adopted_transform(name, pretrained=False, changes={} if image_size is None else {"size": image_size})
    names = tuple(classes) or _numbered(path, name, transform.size)
    out = _folder(workspace, "weights", [name, digest, transform.digest, list(names)])
    if not is_generation(out):
        adopt_weights(workspace, path, model=name, classes=names, transform=transform, out=out)
    return out


def _numbered(path: Path, name: str, size: int) -> tuple[str, ...]:
    """``0``, ``1``, ... for as many classes as the last layer in a weights file has."""
    last = head_path(build(name, classes=2, image_size=size, seed=0))
    held = weights.read(path).get(f"{last}.weight")
    if held is None:
        raise UsageError(
            f"{path}: no {last}.weight to count classes by; is it of {name}? else name them with `classes:`"
        )
    return tuple(str(code) for code in range(len(held)))


def _folder(workspace: Workspace, kind: str, parts: list[object]) -> Path:
    return workspace.home / "served" / f"{kind}-{digest_value(parts)[:16]}"
