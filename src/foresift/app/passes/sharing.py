"""A pass over a pool, shared among the workers of a crew: cut where batches end, stored here.

Pieces are whole batches of a shard, the very batches that this process would cut by itself; that is why the rows are
the same bytes whoever infers them. Only this process stores: a worker that is lost has nothing half done behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import Model
from foresift.core.generations import CHECKPOINTS
from foresift.core.predictions import Producer
from foresift.core.protocols import Brought, PredictionStore, Progress, ShardClaims, StoredRows, Wanted
from foresift.executors import Crew
from foresift.inference.decode import decoder_version
from foresift.inference.pipeline import ForwardPass, Tools
from foresift.inference.shards import SHARD_ROWS, PassReport, check_job, shards_of
from foresift.inference.tuning import Choice
from foresift.sources.addresses import link
from foresift.sources.remote import remote
from foresift.stores.generations import RECORD, WEIGHTS

ROUNDS_LEFT = 2
"""A piece is what is left over the workers and this: pieces grow small, so that all workers end at about one time."""


class SharedJob(Protocol):
    """One pass over the samples of a pool, as far as it is shared."""

    @property
    def store(self) -> PredictionStore:
        """Where rows go."""
        ...

    @property
    def model(self) -> Model:
        """Whose rows they are."""
        ...

    @property
    def digests(self) -> npt.NDArray[np.str_]:
        """Ascending and distinct."""
        ...

    def forward(self, choice: Choice, producer: Producer) -> ForwardPass:
        """What is inferred."""
        ...

    def tools(self, choice: Choice) -> Tools:
        """What it is inferred with."""
        ...


def share_pass(job: SharedJob, crew: Crew, choice: Choice, producer: Producer) -> PassReport:
    """Infer by a crew and store what the store lacks; images that no worker could read are left out.

    Shards that other processes work on are left to them.

    Raises:
        ForesiftError: as :func:`foresift.inference.pipeline.run_pass`, or as :meth:`Crew.share`.
    """
    forward, tools, report = job.forward(choice, producer), job.tools(choice), PassReport()
    check_job(forward)
    missing = ~np.isin(job.digests, job.store.known(producer))
    if not missing.any():
        return report
    common = _common(job, crew, choice, producer)
    tools.progress.start("inferring", int(missing.sum()))
    with tools.claims(forward.identity, -(-len(job.digests) // forward.shard_rows)) as claims:
        pieces = _Pieces(job, forward, missing, claims, common, crew, choice.batch)
        for number, values in crew.share("score", pieces.items(), should_stop=partial(_asked, tools.progress)):
            _keep(job, producer, values, report)
            report.shards += pieces.done(number)
            tools.progress.advance(len(pieces.cut[number][1]))
    tools.progress.done()
    return report


def share_arrivals(
    job: SharedJob,
    crew: Crew,
    choice: Choice,
    producer: Producer,
    wanted: Sequence[Wanted],
    report: PassReport,
    *,
    progress: Progress,
) -> Iterator[Brought]:
    """What becomes of remote objects that a crew downloads and infers, in order; their rows are stored.

    Args:
        progress: asked whether they are still wanted; whoever takes them counts.
    Raises:
        ForesiftError: as :func:`share_pass`.
    """
    common = _common(job, crew, choice, producer)
    known = frozenset(job.store.known(producer).tolist())
    items = ({**common, **_arrivals(part, known)} for part in _parts(wanted, crew, choice.batch))
    early: dict[int, list[Brought]] = {}
    following = 0
    for number, values in crew.share("bring", items, should_stop=partial(_asked, progress)):
        _keep(job, producer, values, report)
        report.shards += 1
        early[number] = [_brought(one) for one in values["brought"]]
        while following in early:
            yield from early.pop(following)
            following += 1


def piece_rows(left: int, workers: int, batch: int) -> int:
    """Rows of the next piece of those left: whole batches, fewer and fewer, never more than a shard."""
    fair = -(-left // (ROUNDS_LEFT * workers))
    return max(batch, min(-(-fair // batch) * batch, SHARD_ROWS // batch * batch))


def _parts(wanted: Sequence[Wanted], crew: Crew, batch: int) -> Iterator[Sequence[Wanted]]:
    """Pieces, cut as workers ask for them."""
    start = 0
    while start < len(wanted):
        end = start + piece_rows(len(wanted) - start, crew.room(), batch)
        yield wanted[start:end]
        start = end


@dataclass(slots=True)
class _Pieces:
    """The pieces of a pass, cut as workers ask for them."""

    job: SharedJob
    forward: ForwardPass
    missing: npt.NDArray[np.bool_]
    claims: ShardClaims
    common: Mapping[str, Any]
    crew: Crew
    batch: int
    cut: list[tuple[int, npt.NDArray[np.intp]]] = field(default_factory=list)
    """Shard and rows of each."""
    _open: dict[int, int] = field(default_factory=dict)
    """Rows of a shard that are not done."""

    def items(self) -> Iterator[dict[str, Any]]:
        """What each worker is told."""
        beyond = int(self.missing.sum())
        for shard, rows in shards_of(self.missing, self.forward.shard_rows).items():
            beyond -= len(rows)
            if not self.claims.claim(shard):
                continue
            left = self._left(shard, rows)
            if not len(left):
                self.claims.release(shard, done=True)
                continue
            self._open[shard] = len(left)
            while len(left):
                size = piece_rows(len(left) + beyond, self.crew.room(), self.batch)
                part, left = left[:size], left[size:]
                self.cut.append((shard, part))
                uris = [link(uri) for uri in self.forward.uris[part].tolist()]
                yield {**self.common, "digests": self.forward.digests[part].tolist(), "uris": uris}

    def done(self, number: int) -> int:
        """A piece is stored; how many shards that completes."""
        shard, rows = self.cut[number]
        self._open[shard] -= len(rows)
        if self._open[shard]:
            return 0
        self.claims.release(shard, done=True)
        return 1

    def _left(self, shard: int, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        if not self.claims.is_done(shard):
            return rows
        return rows[~np.isin(self.forward.digests[rows], self.job.store.known(self.forward.producer))]


def _common(job: SharedJob, crew: Crew, choice: Choice, producer: Producer) -> dict[str, Any]:
    """What all pieces of a pass say."""
    model = job.model
    spool = remote().spool
    return {
        "files": crew.lend(model.folder, _files(model)),
        "model": {
            "key": model.whole_key,
            "transform": model.generation.transform.digest,
            "checkpoint": None if model.checkpoint is None else model.checkpoint.name,
            "backbone_only": model.backbone_only,
        },
        "engine": choice.engine,
        "batch": choice.batch,
        "producer": asdict(producer),
        "decoder": decoder_version(),
        "spool": None if spool is None else str(spool.folder),
    }


def _files(model: Model) -> list[str]:
    kept = [] if model.checkpoint is None else [f"{CHECKPOINTS}/{model.checkpoint.name}"]
    return [RECORD, WEIGHTS, *kept]


def _arrivals(part: Sequence[Wanted], known: frozenset[str]) -> dict[str, Any]:
    held = [one.digest or (one.before[1] if one.before else "") for one in part]
    return {
        "wanted": [[link(one.name), one.digest, one.before] for one in part],
        "stored": [digest for digest in held if digest in known],
    }


def _brought(plain: Sequence[Any]) -> Brought:
    stamp, digest, reason = plain
    return Brought(None if stamp is None else (stamp[0], stamp[1]), digest, reason)


def _asked(progress: Progress) -> bool:
    """Whether the work is wanted no longer: the progress raises then, whatever its owner stops with."""
    progress.advance(0)
    return False


def _keep(job: SharedJob, producer: Producer, values: Mapping[str, Any], report: PassReport) -> None:
    """Store the rows of a piece in one append."""
    report.add(PassReport(inferred=values["inferred"], batches=values["batches"]))
    if not values["digests"]:
        return
    rows = StoredRows(
        digests=np.array(values["digests"], dtype="<U40"),
        reasons=np.array(values["reasons"], dtype=np.str_),
        logits=values["logits"],
        embeddings=values["embeddings"],
    )
    job.store.append(producer, rows)
