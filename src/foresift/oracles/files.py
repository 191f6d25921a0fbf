"""Files that people drop into a folder: tables of labels, drawn masks; each content is taken once."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, OracleError, UsageError
from foresift.core.oracles import Answers, Desk, FileAnswers, Inquiry, Oracle, Refusal
from foresift.oracles.registry import oracle

ENDINGS = {
    ".csv": b"\n",
    ".tsv": b"\n",
    ".jsonl": b"\n",
    ".ndjson": b"\n",
    ".parquet": b"PAR1",
    ".png": b"IEND\xaeB`\x82",
}
"""How a whole file of each kind ends (text files usually)."""
REFUSED = ".refused.txt"
"""After the name of a file: the report on what of it was refused."""
QUESTIONS = "round-{}.csv"
"""The file of a round's questions, to be filled in."""
COLUMNS = ("rank", "id", "uri", "score", "label")
_DRAWN = ".png"
_PATIENCE = 15
"""How many times as long a file that does not end like a whole one must be left alone before it is read."""


@oracle("files")
@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """CSV, JSONL and Parquet files of labels, or folders of masks, that are dropped into a folder."""

    folder: str = ""
    """Where to look; "" = a folder in the workspace, one a run."""
    settle: float = 2.0
    """Seconds for which nobody must have written to a file before it is read."""

    def __post_init__(self) -> None:
        if not self.settle >= 0:
            raise UsageError(f"settle must be 0 or more seconds, got {self.settle}")

    def open(self, desk: Desk) -> Oracle:
        """The oracle for one run."""
        folder = Path(self.folder).expanduser().absolute() if self.folder else desk.folder
        return Dropped(desk=desk, folder=folder, settle_s=self.settle)


class _Look(NamedTuple):
    """A file as it was seen."""

    path: Path
    mtime_ns: int
    data: bytes

    @property
    def digest(self) -> str:
        """Of what the file says: of a drawn mask, the name tells whose it is, and images without a find look alike."""
        drawn = self.path.suffix.lower() == _DRAWN
        name = self.path.name.encode("utf-8", "surrogateescape") + b"\n" if drawn else b""
        return digest_bytes(name + self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The files of one folder and of its subfolders, in the order in which they were written."""

    desk: Desk
    folder: Path
    settle_s: float = 2.0
    name: str = field(default="files", init=False)

    def send(self, inquiry: Inquiry) -> None:
        """Write ``round-N.csv``, a labels file to be filled in, unless it is there already."""
        path = self.folder / QUESTIONS.format(inquiry.round)
        if not path.exists():
            self.desk.report(path, _sheet(inquiry))

    def collect(self, inquiry: Inquiry, *, since: str = "") -> Answers:
        """What the files say whose content was not taken yet; ``since`` lists the digests of those that were.

        A file that is still being written is left for the next time, and so is what nobody has asked for yet.
        What is refused stands in ``NAME.refused.txt`` beside the file until it is taken; the rest of it is taken.

        Raises:
            OracleError: the folder can't be read.
        """
        taken = set(since.split())
        found: list[FileAnswers] = []
        for look in self._whole_files():
            if look.digest not in taken and (answers := self._answers(look, inquiry)) is not None:
                if not (answers.for_now and _report_of(look.path).exists()):  # said once, read again every time
                    found.append(_named(look.path, answers))
                self._report(look.path, answers)
                if not answers.for_now:
                    taken.add(look.digest)
        labels = tuple(label for answers in found for label in answers.labels)
        refused = tuple(refusal for answers in found for refusal in answers.refused)
        return Answers(labels, " ".join(sorted(taken)), refused)

    def can_answer(self, inquiry: Inquiry) -> bool:  # noqa: ARG002
        """Always: the next file may come at any time."""
        return True

    def _answers(self, look: _Look, inquiry: Inquiry) -> FileAnswers | None:
        """What a file says; None if it changed meanwhile, and is left for the next time."""
        try:
            answers = self.desk.read(look.path, inquiry)
        except DataError as error:
            reason = str(error).removeprefix(f"{look.path}: ").removeprefix(f"{look.path}, ")
            answers = FileAnswers((), (Refusal(look.path.name, f"{reason}; nothing of it was taken"),))
        return answers if _unchanged(look) else None

    def _whole_files(self) -> Iterator[_Look]:
        """Files that nobody is writing to, the oldest first; one is held at a time."""
        now_ns = time.time_ns()
        for path in sorted(self._candidates(), key=lambda path: (_written_ns(path), str(path))):
            if (look := _look(path)) is not None and self._is_whole(look, now_ns):
                yield look

    def _is_whole(self, look: _Look, now_ns: int) -> bool:
        """Whether a file was left alone for long enough; a time stamp of the future is no sign of a writer."""
        left_alone_s = abs(now_ns - look.mtime_ns) / 1e9
        ends_well = look.data.endswith(ENDINGS[look.path.suffix.lower()])
        return left_alone_s >= self.settle_s * (1 if ends_well else _PATIENCE)

    def _candidates(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        try:
            paths = sorted(self.folder.rglob("*"))
        except OSError as error:
            raise OracleError(f"the folder of labels {self.folder} can't be read: {error.strerror}") from None
        return [path for path in paths if path.suffix.lower() in ENDINGS and not self._is_hidden(path)]

    def _is_hidden(self, path: Path) -> bool:
        """Names under which programs keep what is not finished: ``.name``, ``~$name``."""
        return any(part.startswith((".", "~")) for part in path.relative_to(self.folder).parts)

    def _report(self, path: Path, answers: FileAnswers) -> None:
        report = _report_of(path)
        if answers.refused:
            taken = f"{len(answers.labels)} answers of {path.name} were taken, {len(answers.refused)} were not:"
            self.desk.report(report, "\n".join([taken, *map(str, answers.refused), ""]))
        else:
            report.unlink(missing_ok=True)


def _report_of(path: Path) -> Path:
    return path.with_name(path.name + REFUSED)


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # gone since it was listed
        return 0


def _look(path: Path) -> _Look | None:
    """A regular file's bytes and time; None if there is nothing to read (yet)."""
    try:
        before = path.stat()
        if not path.is_file() or not before.st_size:
            return None
        return _Look(path, before.st_mtime_ns, path.read_bytes())
    except OSError:  # gone, or not ours to read yet: the next look will tell
        return None


def _unchanged(look: _Look) -> bool:
    again = _look(look.path)
    return again is not None and again.data == look.data


def _named(path: Path, answers: FileAnswers) -> FileAnswers:
    """The same, with the file's name in every refusal."""
    return FileAnswers(answers.labels, tuple(one.of(path.name) for one in answers.refused))


def _sheet(inquiry: Inquiry) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([one.rank, one.sample_id, one.uri, _text(one.score), ""] for one in inquiry.questions)
    return buffer.getvalue()


def _text(score: float | None) -> str:
    return "" if score is None else repr(score)
