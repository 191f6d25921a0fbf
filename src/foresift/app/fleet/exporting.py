"""``foresift fleet export``: a generation as a folder that a device runs without torch."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foresift.app.fleet.device import DEVICE_SCORES
from foresift.app.fleet.device_package import write_device_package
from foresift.app.models.opening import Model, open_model, require_head
from foresift.app.passes.stored import PassOptions, predict_pool
from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.arrays import Values
from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, EmptyPoolError, ModelError, UnknownNameError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.samples import Pool, Quarantined
from foresift.engines.onnx import OnnxEngine
from foresift.inference.decode import decode_with_pillow
from foresift.inference.transform import decoded_side
from foresift.lineage.fleet import MODEL, RECORD, Fleet, score_quantiles
from foresift.lineage.nearness import calibrated_distance
from foresift.lineage.uploads import Quota, UploadController
from foresift.scores import SCORES
from foresift.sources.read import fetch
from foresift.stores.files import disk_errors, write_json

PARITY_IMAGES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRequest:
    """What a device shall run."""

    model: str | Path
    calibrate: str | Path
    """A pool like what devices will see."""
    out: Path
    score: str = "margin"
    quota_per_day: int = 100
    frames_per_day: float | None = None
    options: PassOptions = field(default_factory=PassOptions)

    def __post_init__(self) -> None:
        Quota(per_day=self.quota_per_day)
        if SCORES.canonical(self.score) not in DEVICE_SCORES:
            raise UnknownNameError("score of a device", self.score, DEVICE_SCORES)
        if self.frames_per_day is not None and not self.frames_per_day >= 1:
            raise UsageError(f"frames a day must be at least 1, got {self.frames_per_day:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetExported:
    """The folder that was written."""

    folder: Path
    fleet: Fleet
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()


def export_fleet(workspace: Workspace, request: FleetRequest, *, stdin: Iterable[str] | None = None) -> FleetExported:
    """Write the folder, calibrated on a pool and compared with the server's scores on images of it.

    Raises:
        UsageError: the folder holds something already.
        ModelError: no such generation, one without a head, or one that ONNX can't express.
        EmptyPoolError: no usable image to calibrate on.
    """
    if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise UsageError(f"--out {request.out}: holds something already; give a new folder")
    model = open_model(workspace, request.model)
    require_head(model, "a fleet")
    pool = open_pool(workspace, request.calibrate, progress=request.options.progress, stdin=stdin)
    result = predict_pool(workspace, pool, model, columns=("logits", "embeddings"), options=request.options)
    with disk_errors(request.out):
        request.out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=request.out.parent, prefix=f".{request.out.name}."))
    try:
        fleet = _write(temporary, request, model, pool, result.predictions)
        temporary.chmod(0o755)  # mkdtemp makes it private
        if request.out.is_dir():
            request.out.rmdir()
        temporary.rename(request.out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    notes = (*pool.notes, *map(str, pool.conflicts), *result.notes)
    return FleetExported(folder=request.out, fleet=fleet, quarantined=result.quarantined, notes=notes)


def _write(folder: Path, request: FleetRequest, model: Model, pool: Pool, predictions: Predictions) -> Fleet:
    from foresift.engines.onnx_export import export_onnx
    from foresift.models import ScoringModule

    generation = model.generation
    export_onnx(ScoringModule(model.network(), generation.transform), generation.transform, folder / MODEL)
    digest = digest_bytes((folder / MODEL).read_bytes())
    score = DEVICE_SCORES[SCORES.canonical(request.score)]
    scores = score(predictions.column("logits"))
    embeddings = predictions.column("embeddings")
    quota = Quota(per_day=request.quota_per_day)
    controller = UploadController.calibrated(quota, scores, expected=request.frames_per_day)
    fleet = Fleet(
        generation=generation.id,
        architecture=generation.architecture,
        classes=generation.classes,
        transform=generation.transform,
        model=digest,
        score=score.name,
        threshold=controller.threshold if np.isfinite(controller.threshold) else None,
        quota_per_day=request.quota_per_day,
        frames_per_day=request.frames_per_day,
        calibration=score_quantiles(scores),
        min_distance=calibrated_distance(embeddings),
        pool={"name": pool.name, "version": pool.version, "n": len(predictions)},
        parity=_parity(OnnxEngine(folder / MODEL, digest=digest), model, score.name, predictions, scores),
    )
    write_device_package(folder)
    write_json(folder / RECORD, {"id": fleet.id, **fleet.to_dict()})
    return fleet


def _parity(engine: OnnxEngine, model: Model, score: str, predictions: Predictions, server: Values) -> dict[str, float]:
    """How far the device's scores lie from the server's, from the files of some images on."""
    side = decoded_side(model.generation.transform)
    uris = predictions.uris
    assert uris is not None  # noqa: S101 - predictions of a pool have addresses
    differences = []
    for row in range(0, len(predictions), max(1, len(predictions) // PARITY_IMAGES)):
        try:
            pixels = decode_with_pillow(fetch(str(uris[row])), min_side=side)
        except DataError:
            continue
        own = DEVICE_SCORES[score](engine(pixels[np.newaxis]).logits)[0]
        differences.append(abs(float(own) - float(server[row])))
    if not differences:
        raise EmptyPoolError("not one image to compare the device's scores on")
    if not np.isfinite(differences).all():
        raise ModelError("the exported graph gives scores that are not finite")
    spread = float(np.std(server))
    return {
        "images": len(differences),
        "mean": float(np.mean(differences)),
        "max": float(np.max(differences)),
        "score_std": spread,
    }
