"""What goes over the wire, the same for HTTP and gRPC."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

JobState = Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PushRequest(_Message):
    """Samples to look at: addresses that the server may read."""

    uris: list[str] = Field(min_length=1)


class SelectionRequest(_Message):
    """What to choose next."""

    budget: int = Field(ge=1)
    strategy: str | None = None
    """None = the configured one."""
    seed: int | None = None
    uris: list[str] | None = None
    """Choose among these alone; None = among everything pushed that has no label."""
    allow_short: bool = False


class LabelItem(_Message):
    """One answer: the sample by id or by uri."""

    id: str | None = None
    uri: str | None = None
    label: str = Field(min_length=1)

    @model_validator(mode="after")
    def _names_one(self) -> LabelItem:
        if (self.id is None) == (self.uri is None):
            raise ValueError("a label names its sample either by id or by uri")
        return self


class LabelsRequest(_Message):
    """Answers of one annotator."""

    labels: list[LabelItem] = Field(min_length=1)
    annotator: str = ""


class TrainRequest(_Message):
    """A new generation from the labels so far."""

    model: str
    """An architecture, or a generation to start from."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0


class ChosenRow(BaseModel):
    """One chosen sample."""

    rank: int
    id: str
    uri: str
    """As it was pushed."""
    score: float | None = None
    arm: str | None = None


class SelectionView(BaseModel):
    """A selection, in rank order."""

    id: str
    """Of its receipt."""
    pool: str
    strategy: str
    seed: int
    model: str | None = None
    untrained: bool = False
    """Whether the model's weights are random: the scores mean nothing."""
    rows: list[ChosenRow]
    quarantined: int = 0
    notes: list[str] = Field(default_factory=list)


class JobProgress(BaseModel):
    """How far a job is."""

    what: str = ""
    done: int = 0
    total: int = 0


class JobView(BaseModel):
    """A piece of work that takes its time."""

    id: str
    kind: str
    state: JobState
    progress: JobProgress = JobProgress()
    answer: dict[str, Any] = Field(default_factory=dict)
    reason: str = ""


class PoolView(BaseModel):
    """What was pushed."""

    name: str
    samples: int
    labeled: int
    classes: list[str] = Field(default_factory=list)


class LabelsView(BaseModel):
    """What became of delivered labels."""

    new: int
    repeated: int
    labeled: int


class GenerationView(BaseModel):
    """A trained model."""

    id: str
    architecture: str
    classes: list[str]
    parent: str | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    in_use: bool = False


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
    """The kind, such as ``UsageError``."""
    detail: str
    """One line: what was expected, what came, what to do."""
