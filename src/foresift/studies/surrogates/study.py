"""``foresift study surrogates``: does the model that chose the labels matter to the one that inherits them?

Frickenstein et al. 2024, tables 3 to 5, at a scale that runs here: every model chooses labels with
every strategy, every model is trained on what every other one chose, and on random labels. Paired:
same first labels, same seeds, same training, same number of labels.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path

from foresift.core.protocols import Progress, Silent
from foresift.studies.parts import Part
from foresift.studies.surrogates.bench_of import bench_of
from foresift.studies.surrogates.cells import CELLS, Cells, Pilot, Probe, Training
from foresift.studies.surrogates.names import check_names
from foresift.studies.surrogates.protocol import Protocol
from foresift.studies.threads import one_thread

POLL_S = 1.0
Pair = tuple[str, str]
"""(surrogate, deployment model)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResults:
    """Everything that one seed gave."""

    seed: int
    random: Mapping[str, Sequence[Training]]
    """Deployment model to trainings on random labels, after each cycle that was looked at, the last one last."""
    inherited: Mapping[str, Mapping[Pair, Training]]
    """Strategy to pair to the training on all labels that the surrogate chose."""
    curves: Mapping[str, Mapping[str, Sequence[float]]]
    """Strategy to surrogate to its own quality after every cycle."""
    probes: Mapping[str, Probe]
    pilots: Mapping[str, Mapping[Pair, Sequence[Pilot]]]
    """Score to pair to rehearsals."""
    refused: Mapping[Pair, str]
    """(model, strategy) that gave no result, and why."""
    trained: int
    """Trainings that this call had to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All seeds of one protocol."""

    protocol: Protocol
    measure: str
    pool: int
    labels: int
    """Bought in each cycle."""
    seeds: tuple[SeedResults, ...]

    @property
    def trained(self) -> int:
        """Trainings that this call had to do."""
        return sum(one.trained for one in self.seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All tables of a study."""

    name: str
    """What follows the command: ``--preset NAME``, or the name of the configuration file."""
    tables: tuple[Table, ...]
    seconds: float


def run(
    folder: Path,
    protocols: Sequence[Protocol],
    *,
    name: str,
    data: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Study:
    """Make what is missing of a study; finished cells are read from ``folder``.

    Args:
        folder: cells, embeddings and decoded images are kept there.
        workers: processes, each of them a seed at a time on one thread.
    Raises:
        UsageError: a protocol that does not fit its images, or names what can't run.
        DataError: the images are not there.
    """
    started, told = time.perf_counter(), progress or Silent()
    for protocol in protocols:
        check_names(protocol)
    tables = [_table(folder, protocol, data, workers, told) for protocol in protocols]
    return Study(name=name, tables=tuple(tables), seconds=time.perf_counter() - started)


def run_part(folder: Path, protocols: Sequence[Protocol], *, data: Path | None, part: Part) -> None:
    """Make the cells of some seeds, on one thread; raises as :func:`run`."""
    for protocol in protocols:
        bench = bench_of(protocol, folder, data)
        with one_thread():
            for seed in part.among(protocol.every_seed):
                run_seed(Cells(bench=bench, protocol=protocol, folder=folder), seed)


def cells_of(protocol: Protocol) -> int:
    """Choices, trainings and rehearsals of one seed, probes left out."""
    chains, models = len(protocol.choosers) * len(protocol.strategies), len(protocol.models)
    choices = protocol.cycles * (1 + chains)
    trainings = models * (protocol.cycles if protocol.curves else 1) + chains * (protocol.cycles + models)
    return choices + trainings + protocol.pilots * len(piloted(protocol)) * len(protocol.choosers) * models


def piloted(protocol: Protocol) -> tuple[str, ...]:
    """Scores that pilots rehearse."""
    return tuple(
        name for name in ("entropy", "margin") if name in protocol.strategies and protocol.pilots * protocol.probes
    )


def run_seed(cells: Cells, seed: int) -> SeedResults:
    """Everything of one seed."""
    protocol, before = cells.protocol, cells.trained
    models, cycles = protocol.models, range(protocol.cycles) if protocol.curves else [protocol.cycles - 1]
    drawn = cells.drawn(seed)
    random = {model: [cells.training(model, drawn[cycle], seed) for cycle in cycles] for model in models}
    inherited: dict[str, dict[Pair, Training]] = {name: {} for name in protocol.strategies}
    curves: dict[str, dict[str, Sequence[float]]] = {name: {} for name in protocol.strategies}
    for surrogate in protocol.choosers:
        for strategy in protocol.strategies:
            sets = cells.offered(strategy, surrogate, seed)
            if sets is None:
                continue
            curves[strategy][surrogate] = [cells.training(surrogate, rows, seed).quality for rows in sets]
            for model in models:
                inherited[strategy][surrogate, model] = cells.training(model, sets[-1], seed)
    probes = {model: cells.probe(model, seed) for model in models if protocol.probes}
    pilots = {
        score: {(a, b): cells.pilots(a, b, score, seed) for a in protocol.choosers for b in models}
        for score in piloted(protocol)
    }
    return SeedResults(
        seed=seed,
        random=random,
        inherited=inherited,
        curves=curves,
        probes=probes,
        pilots=pilots,
        refused=dict(cells.refused),
        trained=cells.trained - before,
    )


def _table(folder: Path, protocol: Protocol, data: Path | None, workers: int, told: Progress) -> Table:
    bench = bench_of(protocol, folder, data, told)
    labels = protocol.labels_of(bench.count)
    told.start(f"comparing: {protocol.title or protocol.images}", protocol.seeds * cells_of(protocol))
    if workers > 1 and protocol.seeds > 1:
        seeds = _in_processes(folder, protocol, data, min(workers, protocol.seeds), told)
    else:
        cells = Cells(bench=bench, protocol=protocol, folder=folder, note=partial(told.advance, 1))
        with one_thread():
            seeds = [run_seed(cells, seed) for seed in protocol.every_seed]
    told.done()
    return Table(protocol=protocol, measure=bench.measure, pool=bench.count, labels=labels, seeds=tuple(seeds))


def _in_processes(
    folder: Path, protocol: Protocol, data: Path | None, workers: int, told: Progress
) -> list[SeedResults]:
    """Each seed in a process; what is decoded or embedded lies in the folder already."""
    seen, total = 0, protocol.seeds * cells_of(protocol)
    with _processes(workers) as processes:
        jobs = [processes.submit(_seed_alone, folder, protocol, data, seed) for seed in protocol.every_seed]
        waiting: set[Future[SeedResults]] = set(jobs)
        start = _files(folder)
        while waiting:
            done, waiting = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for job in done:
                job.result()  # an error ends the study now
            now = min(_files(folder) - start, total)
            told.advance(now - seen)
            seen = now
    return [job.result() for job in jobs]


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes for seeds. An error or Ctrl-C ends them at once; their finished cells are files already."""
    before = set(active_children())
    with ProcessPoolExecutor(
        count,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is for whoever started them
    ) as processes:
        try:
            yield processes
        except BaseException:
            for process in set(active_children()) - before:
                process.terminate()
            processes.shutdown(cancel_futures=True)
            raise


def _seed_alone(folder: Path, protocol: Protocol, data: Path | None, seed: int) -> SeedResults:
    with one_thread():
        return run_seed(Cells(bench=bench_of(protocol, folder, data), protocol=protocol, folder=folder), seed)


def _files(folder: Path) -> int:
    return sum(1 for _ in (folder / CELLS).glob("*"))
