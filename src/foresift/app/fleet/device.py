"""``foresift fleet run``: frames in, hits out, under an upload budget. Needs onnxruntime, NumPy and Pillow alone.

The same file runs on a device from an exported folder, where there is no torch and no command line of ours.
"""

from __future__ import annotations

import math
import os
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, ParamSpec

import numpy as np
import numpy.typing as npt

from foresift.app.fleet.device_run import BY_CLOCK, BY_FILE, DeviceReport, DeviceRun
from foresift.core.arrays import Pixels
from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, NonFiniteError, UnknownNameError
from foresift.core.hits import AT_DAYS_END, AT_ONCE, Hit, checked_name, fitting_suffix
from foresift.core.protocols import Outputs
from foresift.engines.onnx import OnnxEngine
from foresift.inference.decode import decode_with_pillow
from foresift.inference.transform import decoded_side
from foresift.lineage.fleet import MODEL, RECORD, Fleet
from foresift.lineage.nearness import RecentFrames
from foresift.lineage.uploads import Quota, UploadController
from foresift.scores.registry import Score
from foresift.scores.single import MOST_CLASSES, score_of_row
from foresift.scores.uncertainty import entropy, least_confidence, margin, ratio
from foresift.sources.frames import BY_NAME, BY_TIME, frames
from foresift.sources.read import fetch, printable, reason_of
from foresift.stores.files import read_json
from foresift.stores.spool import Spool

P = ParamSpec("P")
DEVICE_SCORES: Mapping[str, Score] = {one.name: one for one in (entropy, least_confidence, margin, ratio)}
"""What a device can compute: scores of one model's logits."""
_SAVE_EVERY_S = 10.0
"""Between two records of the state; after a power cut, hits sent since the last are known by their receipts."""
_BROKEN_LISTED = 20
_UNWRITTEN = 16
"""Hits, candidates and releases that wait for the disk at most; the hits among them a power cut may cost."""
_BATCH_BYTES, _BATCH_MOST = 2**20, 64
"""Of a call: pixels, decoded or as the model sees them, and frames. Scoring a few small frames costs nearly as much as
scoring many; large ones cost memory."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CLOCKS_SINCE = "2026-01-01"
"""A clock that stands before this code was written is not set: without a battery it starts in 1970 or thereabouts."""


class _Frame(NamedTuple):
    uri: str
    data: bytes
    pixels: Pixels
    day: str


def open_fleet(folder: Path) -> Fleet:
    """The record of an exported folder.

    Raises:
        ModelError: no such folder, or a record that was changed.
    """
    return Fleet.from_dict(read_json(folder / RECORD))


def run_device(job: DeviceRun, spec: str, *, stdin: Iterable[str] | None = None) -> DeviceReport:
    """Score frames and send the day's most informative ones; memory does not grow with their number.

    Args:
        spec: a folder of frames, a manifest, or ``-``.
    Raises:
        ModelError: the folder's model is not the one of its record.
        DataError: no such frames.
        StoreError: the spool can't be written; what was sent stays sent.
    """
    fleet = open_fleet(job.folder)
    if fleet.score not in DEVICE_SCORES:
        raise UnknownNameError("score of a device", fleet.score, DEVICE_SCORES)
    device = _Device(job, fleet)
    device.run(frames(spec, stdin=stdin, order=BY_TIME if job.day == BY_FILE else BY_NAME))
    return device.report


class _Device:
    """One device while it runs."""

    def __init__(self, job: DeviceRun, fleet: Fleet) -> None:
        self._job = job
        self._fleet = fleet
        self._fleet_id = fleet.id  # a digest: taken once
        self._named_day = "" if job.day in (BY_CLOCK, BY_FILE) else checked_name("day", job.day)
        self._name = checked_name("device", job.device or socket.gethostname().partition(".")[0] or "device")
        self._quota = Quota(per_day=fleet.quota_per_day if job.quota_per_day is None else job.quota_per_day)
        self._engine = OnnxEngine(job.folder / MODEL, digest=fleet.model, threads=job.threads)
        self._score = DEVICE_SCORES[fleet.score]
        self._side = decoded_side(fleet.transform)
        self._spool = Spool(job.spool)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._unwritten: deque[tuple[Future[None], bool]] = deque()
        self._failure: BaseException | None = None
        self._day = ""
        self._again = False
        self._saved = time.monotonic()
        self._recent = RecentFrames(min_distance=fleet.min_distance)
        self.report = DeviceReport(device=self._name, fleet=self._fleet_id)
        self._controller, self._held, self._sent, self._days = self._remembered()

    def run(self, paths: Iterable[str]) -> None:
        """Every frame, then the end of the day unless it is kept open."""
        try:
            for batch in self._batches(paths):
                pixels = batch[0].pixels[None] if len(batch) == 1 else np.array([frame.pixels for frame in batch])
                outputs = self._engine(pixels)
                for frame, score, embedding in zip(batch, self._scored(outputs), outputs.embeddings, strict=True):
                    self._decide(frame, score, embedding)
            self._count_late()
            if self._day and not self._job.keep_open:
                self._close()
        finally:
            with self._writer:
                self._save()
        self._raise_failure()
        self._forward()
        self.report.held = len(self._held)
        self.report.days = dict(self._days)

    def _scored(self, outputs: Outputs) -> list[float]:
        rows, classes = outputs.logits.shape
        if rows == 1 and 2 <= classes <= MOST_CLASSES:
            return [score_of_row(self._fleet.score, outputs.logits[0].tolist())]
        values: list[float] = self._score.formula(outputs.logits).tolist()  # a batch is one block of rows
        return values

    def _batches(self, paths: Iterable[str]) -> Iterator[list[_Frame]]:
        """Frames of equal size, as many as a call takes."""
        batch: list[_Frame] = []
        most = 1
        for frame in self._decoded(paths):
            if batch and (len(batch) >= most or frame.pixels.shape != batch[0].pixels.shape):
                yield batch
                batch = []
            if not batch:
                most = self._job.batch or self._most_like(frame)
            batch.append(frame)
        if batch:
            yield batch

    def _most_like(self, frame: _Frame) -> int:
        """Frames of this size that a call takes, or less than two."""
        return min(_BATCH_MOST, _BATCH_BYTES // max(frame.pixels.nbytes, 3 * self._fleet.transform.size**2))

    def _decoded(self, paths: Iterable[str]) -> Iterator[_Frame]:
        for path in paths:
            try:
                data = fetch(path)
                yield _Frame(path, data, decode_with_pillow(data, min_side=self._side), self._day_of(path))
            except DataError as error:
                self.report.broken += 1
                if len(self.report.reasons) < _BROKEN_LISTED:
                    self.report.reasons.append(f"{printable(path)}: {error}")

    def _day_of(self, path: str) -> str:
        if self._named_day:
            return self._named_day
        if self._job.day == BY_CLOCK:
            return _today()
        try:
            return datetime.fromtimestamp(os.stat(path).st_mtime, UTC).date().isoformat()  # noqa: PTH116
        except OSError as error:
            raise DataError(f"no modification time to take its day from: {reason_of(path, error)}") from None

    def _decide(self, frame: _Frame, score: float, embedding: npt.NDArray[np.float32]) -> None:
        self.report.frames += 1
        if not math.isfinite(score):
            raise NonFiniteError(f"the model's answer for {frame.uri} is not finite; export another model")
        if frame.day != self._day and not self._begins(frame.day):
            self.report.stragglers += 1
        elif self._controller.wants(score):
            self._consider(frame, score, embedding)
        else:
            self._controller.pass_by(score)
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._save()
            self._forward()

    def _consider(self, frame: _Frame, score: float, embedding: npt.NDArray[np.float32]) -> None:
        """A frame that would be sent or held, unless it repeats one."""
        digest = digest_bytes(frame.data)
        if self._repeats(digest, score, embedding):
            self.report.repeats += 1
            self._controller.pass_by(score)
            return
        verdict = self._controller.offer(digest, score)
        hit = self._hit(frame, digest, score)
        if verdict.action != "drop":
            self._recent.keep(digest, embedding)
        if verdict.action == "send":
            self._send(hit, frame.data)
        elif verdict.action == "hold":
            self._held[digest] = hit
            self._later(self._spool.hold, _held_name(hit), frame.data)
        self._release(verdict.released)

    def _repeats(self, digest: str, score: float, embedding: npt.NDArray[np.float32]) -> bool:
        """Whether a frame repeats one that was kept; a held one gives way to a better view of the same scene."""
        known = digest if digest in self._held or digest in self._sent else self._recent.near(embedding)
        if known is None:
            return False
        held = self._controller.score_of(known)
        if held is None or held >= score:
            return True
        self._controller.withdraw(known)
        self._release((known,))
        return False

    def _begins(self, day: str) -> bool:
        """Begin a day, unless its frame is a straggler."""
        if self._straggles(day):
            return False
        self._count_late()
        if self._day:
            self._close()
        self._day = checked_name("day", day)
        self._again = day in self._days
        self._controller.sent = self._days[day] = self._sent_on(day, self._days)
        return True

    def _straggles(self, day: str) -> bool:
        """Whether a date lies before the open day's: an old file or a clock that is not set does not end today.

        An open day that the clock has not reached began by mistake: it ends with the next date that is new here.
        """
        if self._named_day or not _DATE.fullmatch(self._day) or day >= self._day:
            return False
        return day in self._days or not _CLOCKS_SINCE <= _today() < self._day

    def _count_late(self) -> None:
        """The frames of a day that had ended and began again."""
        if self._again:
            self.report.late += self._controller.seen
        self._again = False

    def _sent_on(self, day: str, days: Mapping[str, int]) -> int:
        """Hits of a day; one that was written after the last record of the state, before a crash, counts too."""
        return max(days.get(day, 0), self._spool.last_number(self._name, day))

    def _close(self) -> None:
        """Fill the quota with the best of what was held."""
        self._wait_for_disk()  # the held ones are read back
        names = []
        for key in self._controller.close_day():
            hit = self._held.pop(key)
            names.append(_held_name(hit))
            data = self._spool.held(names[-1], hit.digest)
            if data is None:
                self.report.lost += 1
            else:
                self._send(hit, data, why=AT_DAYS_END)
        self._wait_for_disk()  # until then the held ones are all there is of these frames
        self._spool.release(names)
        self._release(tuple(self._held))
        self._sent.clear()
        self._day = ""
        self._save()

    def _send(self, hit: Hit, data: bytes, *, why: str = AT_ONCE) -> None:
        self._days[self._day] += 1
        number, quota = self._days[self._day], self._quota.per_day  # another by now than when it was held, perhaps
        numbered = replace(hit, day=self._day, number=number, quota=quota, why=why)
        self._unwritten.append((self._writer.submit(self._spool.send, numbered, data), True))
        self._wait_for_disk(_UNWRITTEN)
        self._sent.add(hit.digest)
        self.report.sent += 1

    def _later(self, write: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Have a candidate written or let go beside the scoring; a failure is raised by one of the next calls."""
        self._unwritten.append((self._writer.submit(write, *args, **kwargs), False))
        self._wait_for_disk(_UNWRITTEN)
        self._raise_failure()

    def _wait_for_disk(self, most: int = 0) -> None:
        """Until at most so many things wait for the disk; what a hit failed with is raised at every call.

        A candidate that failed is one less, which the next start sees: its failure does not keep the state from being
        recorded.
        """
        while len(self._unwritten) > most or (self._unwritten and self._unwritten[0][0].done()):
            written, is_hit = self._unwritten[0]
            if is_hit:
                written.result()
            self._failure = self._failure or written.exception()
            self._unwritten.popleft()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _release(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._recent.forget(key)
        if names := [_held_name(self._held.pop(key)) for key in keys if key in self._held]:
            self._later(self._spool.release, names)

    def _hit(self, frame: _Frame, digest: str, score: float) -> Hit:
        return Hit(
            fleet=self._fleet_id,
            generation=self._fleet.generation,
            device=self._name,
            day=frame.day,
            number=1,  # given when it is sent
            quota=self._quota.per_day,
            digest=digest,
            size_bytes=len(frame.data),
            suffix=fitting_suffix(Path(frame.uri).suffix.lower()),
            uri=printable(frame.uri),
            score=score,
            score_name=self._fleet.score,
            why=AT_DAYS_END,
            seen=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _forward(self) -> None:
        if self._job.upload is not None:
            self.report.uploaded += self._spool.forward(self._job.upload)

    def _save(self) -> None:
        """Record the state, once all hits that it counts are on the disk."""
        self._saved = time.monotonic()
        self._wait_for_disk()
        self._spool.remember(
            {
                "fleet": self._fleet_id,
                "day": self._day,
                "days": dict(sorted(self._days.items())[-366:]),
                "controller": self._controller.to_dict(),
                "held": {key: hit.to_dict() for key, hit in self._held.items()},
                "sent": sorted(self._sent),
            }
        )

    def _remembered(self) -> tuple[UploadController, dict[str, Hit], set[str], dict[str, int]]:
        """What this device knew when it last ran; another exported model begins with its own calibration."""
        state = self._spool.state()
        days = {str(day): int(count) for day, count in state.get("days", {}).items()}
        waiting, self.report.unreadable = self._spool.hits()
        if state.get("fleet") == self._fleet_id:
            controller = UploadController.from_dict(self._quota, state["controller"])
            sent = set(state["sent"]) | {hit.digest for hit in waiting}
            held = self._still_held(state["held"], controller, sent)
        else:
            scores = np.asarray(self._fleet.calibration)
            controller = UploadController.calibrated(self._quota, scores, expected=self._fleet.frames_per_day)
            sent, held = set(), {}
        self._spool.release_others(_held_name(hit) for hit in held.values())
        self._day = str(state.get("day", ""))
        if self._day:
            controller.sent = days[self._day] = self._sent_on(self._day, days)
        return controller, held, sent, days

    def _still_held(
        self, plain: Mapping[str, object], controller: UploadController, sent: Collection[str]
    ) -> dict[str, Hit]:
        """What was sent or released between the last record and a power cut is no candidate any more."""
        held = {}
        for key, receipt in plain.items():
            try:
                hit = Hit.from_dict(receipt)
            except DataError:
                self.report.lost += 1
                controller.withdraw(key)
                continue
            if key in sent or self._spool.held(_held_name(hit), key) is None:
                controller.withdraw(key)
            else:
                held[key] = hit
        return held


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _held_name(hit: Hit) -> str:
    return f"{hit.digest}{hit.suffix}"
