"""What a worker of a crew does: its part of a pass. It stores nothing; rows go back to whoever asked.

The same code runs in processes of this machine and on the machines of a cluster.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.models.engines import ModelEngines
from foresift.app.models.opening import Model, at_checkpoint
from foresift.core.digests import digest_value
from foresift.core.errors import ModelError
from foresift.core.generations import CHECKPOINTS
from foresift.core.predictions import Producer
from foresift.core.protocols import Progress, StoredRows, Wanted
from foresift.engines import engine_identity
from foresift.executors import Task, serve
from foresift.inference.arriving import ArrivingPass
from foresift.inference.decode import decoder_version
from foresift.inference.pipeline import ForwardPass, PassReport, Tools, run_pass
from foresift.inference.shards import Unshared
from foresift.inference.transform import load
from foresift.sources.addresses import public
from foresift.sources.downloads import bring as download
from foresift.sources.read import fetch
from foresift.sources.remote import remote
from foresift.stores.generations import read_generation

LEFT = "foresift-generation-"
"""How folders begin that hold a model on its way into memory."""
LEFT_S = 3600.0
_NONE = np.zeros(0, dtype="<U40")


def score(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:  # noqa: ARG001 - whoever asked counts
    """Rows of images that are known by their digests."""
    digests = np.array(values["digests"], dtype=np.str_)
    uris = np.array([public(uri) for uri in values["uris"]], dtype=np.str_)
    seat, tray = _seated(values), _Tray()
    report = run_pass(seat.job(values, digests, uris), seat.tools(values, tray))
    return {**tray.plain(), **_plain(report)}


def bring(values: Mapping[str, Any], progress: Progress) -> dict[str, Any]:  # noqa: ARG001
    """Rows and digests of images that have to be downloaded first, in ascending order of address."""
    wanted = [Wanted(public(uri), digest, _before(before)) for uri, digest, before in values["wanted"]]
    seat, tray = _seated(values), _Tray(stored=values["stored"])
    with ArrivingPass(seat.job(values, _NONE, _NONE), seat.tools(values, tray)) as seen:
        brought = download(wanted, seen.add)
    return {"brought": [list(one) for one in brought], **tray.plain(), **_plain(seen.report)}


def _before(plain: Any) -> tuple[tuple[int, int], str] | None:
    return None if plain is None else ((plain[0][0], plain[0][1]), plain[1])


def _plain(report: PassReport) -> dict[str, Any]:
    return {"inferred": report.inferred, "batches": report.batches, "unread": report.unread}


@dataclass(slots=True)
class _Tray:
    """A :class:`foresift.core.protocols.PredictionStore` of the rows that one task made."""

    stored: Sequence[str] = ()
    """Digests that whoever asked has rows of."""
    parts: list[StoredRows] = field(default_factory=list)

    def known(self, producer: Producer) -> npt.NDArray[np.str_]:  # noqa: ARG002 - there is one
        return np.array(self.stored, dtype="<U40")

    def read(self, producer: Producer, digests: npt.NDArray[np.str_], *, columns: Sequence[str]) -> StoredRows:  # noqa: ARG002
        raise KeyError("a worker keeps no rows")

    def append(self, producer: Producer, rows: StoredRows) -> None:  # noqa: ARG002
        self.parts.append(rows)

    def plain(self) -> dict[str, Any]:
        """All rows, or none of them: ``digests`` is empty then."""
        digests = [digest for part in self.parts for digest in part.digests.tolist()]
        reasons = [reason for part in self.parts for reason in part.reasons.tolist()]
        if not digests:
            return {"digests": [], "reasons": []}
        logits = np.concatenate([part.logits for part in self.parts if part.logits is not None])
        embeddings = np.concatenate([part.embeddings for part in self.parts if part.embeddings is not None])
        return {"digests": digests, "reasons": reasons, "logits": logits, "embeddings": embeddings}


@dataclass(frozen=True, slots=True)
class _Seat:
    """A model at work; it stays loaded from task to task."""

    model: Model
    engines: ModelEngines

    def job(self, values: Mapping[str, Any], digests: npt.NDArray[np.str_], uris: npt.NDArray[np.str_]) -> ForwardPass:
        """Everything at once: the piece was cut where batches end."""
        return ForwardPass(
            producer=Producer(**values["producer"]),
            digests=digests,
            uris=uris,
            batch=values["batch"],
            size=self.model.generation.transform.size,
        )

    def tools(self, values: Mapping[str, Any], tray: _Tray) -> Tools:
        """What it is inferred with."""
        if values["spool"] is not None:
            remote().keep_in(Path(values["spool"]))
        return Tools(
            fetch=fetch,
            load=partial(load, transform=self.model.generation.transform),
            engine=partial(self.engines.make, values["engine"], values["batch"]),
            store=tray,
            claims=lambda identity, shards: Unshared(),  # noqa: ARG005
        )


_seat: dict[str, _Seat] = {}
"""The one that was used last."""


def _seated(values: Mapping[str, Any]) -> _Seat:
    _check_kind(values)
    key = digest_value(values["model"])
    if key not in _seat:
        _seat.clear()
        files = values["files"]
        _seat[key] = _seat_in(Path(files), values["model"]) if isinstance(files, str) else _travelled(files, values)
    return _seat[key]


def _seat_in(folder: Path, asked: Mapping[str, Any]) -> _Seat:
    """A seat for the model in a folder."""
    model = Model(folder=folder, generation=read_generation(folder))
    if asked["checkpoint"] is not None:
        model = at_checkpoint(model, folder / CHECKPOINTS / asked["checkpoint"])
    model = replace(model, backbone_only=asked["backbone_only"])
    return _Seat(model, ModelEngines(model))


def _travelled(files: Mapping[str, bytes], values: Mapping[str, Any]) -> _Seat:
    """A seat for a model whose files came with the task: they lie on the disk until they are loaded, and no longer."""
    remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=LEFT) as place:
        folder = Path(place)
        for name, data in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        seat = _seat_in(folder, values["model"])
        seat.engines.load()
        return seat


def remove_leftovers(older_than_s: float = LEFT_S) -> None:
    """Remove what workers left that were killed while they loaded a model; a load takes seconds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{LEFT}*"):
        with suppress(OSError):  # of another user, or another worker removes it
            held = folder.lstat()
            if S_ISDIR(held.st_mode) and held.st_uid == os.getuid() and time.time() - held.st_mtime > older_than_s:
                shutil.rmtree(folder)


def _check_kind(values: Mapping[str, Any]) -> None:
    """Refuse to make rows under the name of another library's.

    Raises:
        ModelError: engine or decoder are of another version or device than where the pass began.
    """
    expected = [values["producer"]["engine"], values["producer"]["precision"], values["decoder"]]
    here = [*engine_identity(values["engine"]), decoder_version()]
    if here != expected:
        raise ModelError(
            f"{socket.gethostname()} would give other rows: it has {', '.join(here)}, expected {', '.join(expected)} "
            "as where the pass began; install the same versions on all machines"
        )


TASKS: Mapping[str, Task] = {"score": score, "bring": bring}
MODULE = "foresift.app.passes.workers"


def command() -> list[str]:
    """The process that does the tasks."""
    return [sys.executable, "-m", MODULE]


def main() -> None:
    """Serve until whoever started this is gone."""
    serve(TASKS)


if __name__ == "__main__":
    main()
