"""A desk to try oracles at: a pool of three samples, and a reader of ``id,label`` lines."""

from __future__ import annotations

from pathlib import Path

from foresift.core.errors import DataError
from foresift.core.labels import LabelRecord
from foresift.core.oracles import Desk, FileAnswers, Inquiry, Question, Refusal

TRUTH = {"a": "cat", "b": "dog", "c": ""}
"""What the pool says of each sample; nothing of the last."""


def inquiry(samples: str = "abc", number: int = 1, **more: object) -> Inquiry:
    questions = tuple(
        Question(sample_id=one, uri=f"/images/{one}.png", rank=rank, score=1 / rank)
        for rank, one in enumerate(samples, start=1)
    )
    return Inquiry(run="run-1", pool="pool", round=number, questions=questions, **more)  # type: ignore[arg-type]


def desk(folder: Path) -> Desk:
    return Desk(
        run="run-1",
        pool="pool",
        folder=folder / "inbox",
        truth=lambda samples: [TRUTH.get(str(one), "") for one in samples],
        read=read_lines,
        report=write,
        fetch=lambda uri: Path(uri).read_bytes(),
        keep=lambda data: f"masks/{len(data)}.png",
    )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def read_lines(path: Path, asked: Inquiry) -> FileAnswers:
    """``id,label`` after a header line."""
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not text") from None
    labels, refused = [], []
    for number, line in enumerate(lines[1:], start=2):
        sample, _, label = line.partition(",")
        if sample in TRUTH:
            labels.append(LabelRecord(sample_id=sample, value=label, pool=asked.pool, run=asked.run))
        else:
            refused.append(Refusal(f"line {number}", f"no sample {sample}"))
    return FileAnswers(tuple(labels), tuple(refused))
