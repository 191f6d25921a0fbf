"""What a round's oracle has answered: asked, kept, and judged whether it is enough."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foresift.app.run_files import RunFile
from foresift.app.run_pools import TRUTH
from foresift.core.labels import LabelRecord
from foresift.core.records import Records
from foresift.core.rounds import Round, SampleId


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The labels of one run, as its records hold them and its oracle brings them."""

    records: Records
    run: str
    pool: str
    """Its name."""
    file: RunFile
    folder: Path
    """Of the run."""
    _truth: dict[Any, str] = field(default_factory=dict)

    def take(self, round: Round) -> None:
        """Store what the oracle says of a round's samples; what is known stays as it is."""
        if self.file.oracle != "folders":
            return
        truth = self._classes()
        self.records.add_labels(
            LabelRecord(
                sample_id=sample,
                value=truth[sample],
                pool=self.pool,
                run=self.run,
                round=round.number,
                annotator="truth",
                cost=self.file.label_price,
                source="folders",
            )
            for sample in round.selected
        )

    def known(self, samples: Sequence[SampleId]) -> dict[SampleId, str]:
        """What is answered of these samples, ``cannot-tell`` included."""
        found = self.records.labels(run=self.run)
        wanted = set(samples)
        return {one.sample_id: one.value for one in found if one.sample_id in wanted}

    def why_closed(self, round: Round, answered: int) -> str:
        """Why a round need not wait any longer; "" while it should."""
        if answered >= len(round.selected):
            return "every sample is answered"
        if self.file.quota is not None and answered >= self.file.quota:
            return f"{answered} answers, the quota of {self.file.quota} is reached"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if round.closes_at is not None and now >= round.closes_at:
            return f"its date {round.closes_at} is over, {len(round.selected) - answered} samples have no answer"
        return ""

    def missing(self, rounds: Sequence[Round]) -> str:
        """What a run waits for, and how to give it."""
        waiting = [one for one in rounds if one.state == "labeling"]
        numbers = ", ".join(str(one.number) for one in waiting)
        asked = tuple(dict.fromkeys(sample for one in waiting for sample in one.selected))
        known = self.known(asked)
        open_ = sum(sample not in known for sample in asked)
        return f"round {numbers} waits for {open_} labels: foresift labels import FILE --run {self.run}"

    def _classes(self) -> dict[Any, str]:
        if not self._truth:
            import pyarrow.parquet as pq

            table = pq.read_table(self.folder / TRUTH)
            self._truth.update(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
        return self._truth
