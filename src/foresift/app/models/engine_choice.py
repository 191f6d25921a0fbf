"""Which engine runs a pass: asked for, remembered, or measured and checked.

The outcome is kept per pool and pass, so that a later run, another worker and a new image
use the same engine and batch size. Deleting the record costs a new measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Logits, Pixels, Values
from foresift.core.errors import EmptyPoolError, ModelError
from foresift.core.protocols import Engine, Outputs
from foresift.core.registry import build, parse_spec
from foresift.engines import INT8, REFERENCE, available, canonical, engine_identity
from foresift.engines.kserve import is_served
from foresift.inference.rank_check import ALIKE, Alike, RankCheck, rank_check
from foresift.inference.tuning import SAMPLE, SMALL_JOB_S, TRIAL_S, Choice, Trial, choose, measure
from foresift.scores import SCORES
from foresift.stores.choices import read_choice, write_choice
from foresift.stores.files import locked

DEFAULT_BATCH = 16
"""Of larger ones the values between layers leave a processor's caches: ResNet-18 at 224 px loses a tenth at 32."""
GPU_BATCH = 32
SMALL_IMAGE_BATCH = 128
"""Up to 64 px, calls into the engine cost more than the arithmetic in them."""
FEW = 256
"""So few images are inferred by the reference at once: measuring would take longer."""
INT8_JOB_S = 600.0
"""A job that the reference finishes in this time is not worth a calibration, which takes about 100 s."""
_NOTHING_DECODED = "not one image of the pool can be decoded; see the quarantine reasons with --json"
_SAMPLE_KEY = "sample"
_NONE = np.empty(0, dtype="<U40")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreInUse:
    """The ranking that a faster engine must keep."""

    name: str = "entropy"
    share: float = 0.1
    """Budget over pool, within (0, 1]."""
    alike: Alike = ALIKE

    def __call__(self, logits: Logits) -> Values:
        """(n,) values of the score."""
        return SCORES.get(self.name)(logits)

    def check(self, reference: Logits, candidate: Logits) -> RankCheck:
        """Whether logits of the same images rank alike."""
        return rank_check(self(reference), self(candidate), share=self.share, expected=self.alike)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a measurement needs of the pool and the model."""

    record: Path
    """Where the outcome for this pool and pass is kept."""
    size: int
    """Side of the images in pixels."""
    digests: npt.NDArray[np.str_]
    """All of the pool, ascending."""
    missing: Callable[[str, int], npt.NDArray[np.str_]]
    """Digests that an engine would have to infer at a batch size."""
    sample: Callable[[npt.NDArray[np.str_], int], tuple[npt.NDArray[np.str_], Pixels]]
    """Up to so many images of the given digests that can be decoded: which, and their pixels."""
    make: Callable[[str, int], Engine]
    logits_of: Callable[[Outputs], Logits]
    identity: Callable[[str], tuple[str, str]] = engine_identity
    """What the values of an engine follow from beside the network; another one makes its trials void."""
    left_out: tuple[str, ...] = ()
    """Engines that ``auto`` does not take here."""


def engine_asked(spec: str) -> tuple[str, Alike]:
    """The engine of ``NAME`` or ``NAME:correlation=C,overlap=O``, and how alike it must rank.

    Raises:
        UnknownNameError: no such engine.
        UsageError: a limit that there is none of, or out of range.
    """
    if is_served(spec):
        return canonical(spec), ALIKE
    name, limits = parse_spec(spec)
    return canonical(name), build(Alike, limits, spec=spec)


def choose_engine(asked: str, bench: Bench, *, score: ScoreInUse, batch: int | None = None) -> Choice:
    """The engine and batch size of a pass.

    Args:
        asked: ``auto``, or an engine (:func:`engine_asked`); another one than the reference is checked.
        batch: images a call; None = what is known, else a default that ``auto`` measures for long jobs.
    Raises:
        UnknownNameError: no such engine.
        EmptyPoolError: not one image can be decoded.
        ModelError: it ranks otherwise than the reference; a server does not answer or serves another model.
    """
    name, alike = engine_asked(asked)
    score = replace(score, alike=alike)
    # A second process waits for the first one's measurement instead of making its own.
    with locked(bench.record.with_suffix(".lock")):
        known = _read(bench)
        asked_for = partial(_choose_reference if name == REFERENCE else _choose_checked, name)
        choose_one = _choose_auto if name == "auto" else asked_for
        choice, known = choose_one(bench, known, score, batch)
        if batch is not None:
            choice = replace(choice, batch=batch)
            known = known.plus({choice.engine: known.trial(choice.engine, batch)})
        if any(trial is not known.before.get(engine) for engine, trial in known.trials.items()):
            _write(bench, known)
    return choice


def choose_unranked(asked: str, bench: Bench, *, batch: int | None = None) -> Choice:
    """The engine and batch size of a pass that gives no logits, so that there is no ranking to check.

    Raises:
        UnknownNameError: no such engine.
        ModelError: a server, which is used only after a check.
    """
    name, _ = engine_asked(asked)
    if is_served(name):
        raise ModelError(f"{name} is checked by its ranking, and embeddings alone give none; use --engine torch")
    if name == "auto":
        choice = choose_engine(REFERENCE, bench, score=ScoreInUse(), batch=batch)
        return replace(choice, reason="there is no ranking to compare engines by")
    with locked(bench.record.with_suffix(".lock")):
        known = _read(bench)
    reason = "asked for; there is no ranking to compare engines by"
    return Choice(engine=name, batch=batch or known.batch(name, bench.size), reason=reason)


@dataclass(frozen=True, slots=True)
class _Known:
    """Trials of earlier calls, and those of this one."""

    before: Mapping[str, Trial]
    trials: Mapping[str, Trial]
    sample: npt.NDArray[np.str_]
    """Digests of the images whose logits are kept."""
    pool: int = 0
    """So many images the pool held when they were drawn."""

    def forgetting(self) -> _Known:
        """Without the sample and what was said of it; rates and batch sizes stay."""
        trials = {name: replace(trial, logits=None) for name, trial in self.trials.items()}
        return replace(self, trials=trials, sample=_NONE, pool=0)

    def outgrown(self, pool: int) -> bool:
        """Whether a pool of so many images now gives a larger sample."""
        return len(self.sample) < SAMPLE and pool > self.pool

    def plus(self, trials: Mapping[str, Trial]) -> _Known:
        return replace(self, trials={**self.trials, **trials})

    def trial(self, name: str, batch: int) -> Trial:
        """What is known of an engine, at a batch size that was asked for."""
        known = self.trials.get(name, Trial(engine=name, batch=batch, rate=0.0))
        return known if known.batch == batch else replace(known, batch=batch)

    def batch(self, name: str, size: int) -> int:
        """The batch size at which an engine's rows are kept."""
        return self.trials[name].batch if name in self.trials else default_batch(size)

    @property
    def compared(self) -> bool:
        """Whether engines were measured against the reference; int8 takes part only where that job was long."""
        reference = self.trials.get(REFERENCE)
        if self.pool <= FEW:  # no comparison, but an engine that was named for a small pool
            return False
        return reference is not None and reference.logits is not None and set(candidates()) - {INT8} <= set(self.trials)


def _choose_reference(
    name: str, bench: Bench, known: _Known, _score: ScoreInUse, _batch: int | None
) -> tuple[Choice, _Known]:
    return Choice(engine=name, batch=known.batch(name, bench.size), reason="asked for"), known


def _choose_checked(
    name: str, bench: Bench, known: _Known, score: ScoreInUse, batch: int | None
) -> tuple[Choice, _Known]:
    """Another engine than the reference, after it ranked a sample as that does."""
    size = batch or known.batch(name, bench.size)
    try:
        known = _both(name, bench, known, size)
    except _SampleGoneError:
        known = _both(name, bench, known.forgetting(), size)
    expected, got = (known.trials[engine].logits for engine in (REFERENCE, name))
    assert expected is not None  # noqa: S101 - both have just been run
    assert got is not None  # noqa: S101 - both have just been run
    check = score.check(expected, got)
    if not check.passed:
        raise ModelError(_ranks_otherwise(name, check))
    return Choice(engine=name, batch=size, reason="asked for; ranks like the reference", checks={name: check}), known


def _ranks_otherwise(name: str, check: RankCheck) -> str:
    """The figures, and what to do."""
    told = (
        f"{name} ranks {check.n} images of the pool otherwise than {REFERENCE} does (rank correlation "
        f"{check.correlation:.3f}, expected {check.expected.correlation}; overlap of the top {check.k} "
        f"{check.overlap:.3f}, expected {check.expected.overlap})"
    )
    if is_served(name):
        return f"{told}; does it serve this generation? Serve it, or use --engine torch"
    low = [math.floor(value * 100) / 100 for value in (check.correlation, check.overlap)]
    return f"{told}; use --engine auto, or accept that with --engine {name}:correlation={low[0]},overlap={low[1]}"


def _both(name: str, bench: Bench, known: _Known, batch: int) -> _Known:
    """Logits of the reference and of another engine for the same sample; a server's as it answers now."""
    if known.outgrown(len(bench.digests)):
        known = known.forgetting()
    reference, trial = known.trials.get(REFERENCE), known.trials.get(name)
    compared = reference is not None and reference.logits is not None
    asked = trial is not None and trial.batch == batch and trial.logits is not None
    if compared and asked and not (is_served(name) and len(bench.missing(name, batch))):
        return known
    kept, pixels = bench.sample(known.sample, len(known.sample)) if compared else bench.sample(bench.digests, SAMPLE)
    if compared and len(kept) < len(known.sample):
        raise _SampleGoneError
    if not len(pixels):
        raise EmptyPoolError(_NOTHING_DECODED)
    if not compared:
        usual = known.batch(REFERENCE, bench.size)
        first = _measure(REFERENCE, bench, pixels, whole=True, batch=usual, trial_s=0.0)
        known = replace(known.forgetting(), sample=kept, pool=len(bench.digests)).plus({REFERENCE: first})
    return known.plus({name: _measure(name, bench, pixels, whole=True, batch=batch, trial_s=0.0)})


def _choose_auto(bench: Bench, known: _Known, score: ScoreInUse, batch: int | None) -> tuple[Choice, _Known]:
    if not known.compared:
        missing = bench.missing(REFERENCE, batch or known.batch(REFERENCE, bench.size))
        if len(missing) > FEW and known.trial(REFERENCE, 0).rate == 0:
            known = known.plus({REFERENCE: _probe(REFERENCE, bench, missing)})
        trial = known.trials.get(REFERENCE)
        if len(missing) <= FEW or trial is None or _short(trial, missing):
            return Choice(engine=REFERENCE, batch=known.batch(REFERENCE, bench.size), reason="a short job"), known
        known = _compare(bench, known, missing)
    try:
        return _fastest(bench, known, score)
    except _SampleGoneError:
        return _fastest(bench, _compare(bench, known, bench.digests), score)


def default_batch(size: int) -> int:
    """The batch size that is used without a measurement."""
    if size <= 64:
        return SMALL_IMAGE_BATCH
    return GPU_BATCH if _on_gpu() else DEFAULT_BATCH


def _short(trial: Trial, missing: npt.NDArray[np.str_]) -> bool:
    return len(missing) < trial.rate * SMALL_JOB_S


def _in_play(bench: Bench, trials: Mapping[str, Trial], images: int) -> list[str]:
    """Engines to compare with the reference for so many images: int8 where that is worth a calibration."""
    worth = images >= trials[REFERENCE].rate * INT8_JOB_S
    return [name for name in candidates() if name not in bench.left_out and (name != INT8 or worth)]


def _probe(name: str, bench: Bench, missing: npt.NDArray[np.str_]) -> Trial:
    """The rate at the default batch size, from two calls: enough to tell a short job from a long one."""
    batch = default_batch(bench.size)
    sample = _sample(bench, missing, batch)
    return _measure(name, bench, sample, whole=False, batch=batch, trial_s=0.0)


class _SampleGoneError(Exception):
    """An image of the kept sample can no longer be read."""


class _OutOfPlayError(Exception):
    """An engine that was measured once can't run this network any more; its name."""


def _compare(bench: Bench, known: _Known, digests: npt.NDArray[np.str_]) -> _Known:
    """Rates of every engine in play for these images, and the reference's logits of a fresh sample."""
    kept, pixels = bench.sample(digests, SAMPLE)
    trials = {REFERENCE: _measure(REFERENCE, bench, pixels, whole=True)}
    for name in _in_play(bench, trials, len(digests)):
        try:
            trials[name] = _measure(name, bench, pixels, whole=False)
        except ModelError:  # an engine that can't run this network is not in play
            trials[name] = Trial(engine=name, batch=default_batch(bench.size), rate=0.0)
    return _Known(known.before, trials, kept, len(bench.digests))


def _fastest(bench: Bench, known: _Known, score: ScoreInUse) -> tuple[Choice, _Known]:
    names = {REFERENCE, *candidates()} - set(bench.left_out)  # others were named once

    def complete(name: str) -> Trial:
        kept, pixels = bench.sample(known.sample, len(known.sample))
        if len(kept) < len(known.sample):
            raise _SampleGoneError
        try:
            return _measure(name, bench, pixels, whole=True, batch=known.trials[name].batch)
        except ModelError:
            raise _OutOfPlayError(name) from None

    trials = {name: trial for name, trial in known.trials.items() if name in names}
    try:
        choice, trials = choose(
            trials, complete, reference=REFERENCE, score=score, share=score.share, alike=score.alike
        )
    except _OutOfPlayError as error:
        (name,) = error.args
        return _fastest(bench, known.plus({name: replace(trials[name], rate=0.0)}), score)
    return choice, known.plus(trials)


def candidates() -> list[str]:
    """Engines that may be faster than the reference on this machine."""
    library = "torch" if _on_gpu() or "openvino-f32" not in available() else "openvino"
    if library == "torch":
        return ["torch-bf16"] if _on_gpu() or _native_bf16() else []
    return [
        "openvino-f32",
        *(["openvino-bf16"] if _native_bf16() else []),
        *([INT8] if INT8 in available() else []),
    ]


def _measure(
    name: str, bench: Bench, sample: Pixels, *, whole: bool, batch: int | None = None, trial_s: float = TRIAL_S
) -> Trial:
    sizes = [batch] if batch else _batches(name, bench.size)
    return measure(name, bench.make, sample, batches=sizes, whole=whole, logits_of=bench.logits_of, trial_s=trial_s)


def _batches(name: str, size: int) -> list[int]:
    """Batch sizes worth a trial: graphs are made anew for every size and hardly care."""
    if name.startswith(("openvino", "onnx")):
        return [default_batch(size)]
    if engine_identity(name)[0].endswith("cuda"):
        return [64, 256, 512]
    return [64, 128, 256] if size <= 64 else [DEFAULT_BATCH]


def _sample(bench: Bench, digests: npt.NDArray[np.str_], count: int) -> Pixels:
    sample = bench.sample(digests, count)[1]
    if not len(sample):
        raise EmptyPoolError(_NOTHING_DECODED)
    return sample


def _on_gpu() -> bool:
    return engine_identity(REFERENCE)[0].endswith("cuda")


@cache
def _native_bf16() -> bool:
    """Whether this processor computes in bfloat16: others would only pretend to."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or "bf16" in flags.partition("Features")[2]


def _read(bench: Bench) -> _Known:
    stored = read_choice(bench.record)
    if stored is None:
        return _Known({}, {}, _NONE)
    record, arrays = stored
    here = available()
    named = [name for name in record.get("trials", {}) if is_served(name) or name in here]
    versions = {name: list(bench.identity(name)) for name in named}
    trials = {
        name: Trial(engine=name, batch=int(plain["batch"]), rate=float(plain["rate"]), logits=arrays.get(name))
        for name, plain in record.get("trials", {}).items()
        if plain["identity"] == versions.get(name)
    }
    return _Known(trials, trials, arrays.get(_SAMPLE_KEY, _NONE), int(record.get("pool", 0)))


def _write(bench: Bench, known: _Known) -> None:
    record: dict[str, Any] = {
        "trials": {
            name: {"batch": trial.batch, "rate": trial.rate, "identity": list(bench.identity(name))}
            for name, trial in known.trials.items()
        },
        "pool": known.pool,
    }
    logits = {name: trial.logits for name, trial in known.trials.items() if trial.logits is not None}
    write_choice(bench.record, record, {_SAMPLE_KEY: known.sample, **logits})
