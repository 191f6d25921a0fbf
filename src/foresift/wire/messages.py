"""What goes over the wire, the same for HTTP and gRPC."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

JobState = Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]


MOST_A_PAGE = 1000
Plain = str | int | float | bool | None


def _of_json(value: Any) -> Any:
    """Refuse what pydantic would read as a number though JSON has it as something else."""
    if isinstance(value, bool | str):
        raise ValueError("a number is expected")
    return value


Whole = Annotated[int, BeforeValidator(_of_json)]
"""A number in a body; one of a query comes as text."""
Number = Annotated[Whole, Field(ge=0, le=2**63 - 1)]
ModelName = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._:+-]+$")]
"""An architecture or an id; never a path."""
GenerationId = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
SampleState = Literal["ready", "waiting", "broken"]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Nothing(_Message):
    """No more than the place says."""


class PageRequest(_Message):
    """Which part of a list."""

    limit: int = Field(default=100, ge=1, le=MOST_A_PAGE)
    after: str | None = Field(default=None, max_length=200)
    """``next`` of the page before; None = from the beginning."""


class JobRequest(_Message):
    """How long to wait for the end of a job."""

    wait_s: float = Field(default=0.0, ge=0, le=30)


class PushRequest(_Message):
    """Samples to look at: addresses that the server may read."""

    uris: list[str] = Field(min_length=1)


class SelectionRequest(_Message):
    """What to choose next."""

    budget: Whole = Field(ge=1, le=10**9)
    strategy: str | None = Field(default=None, max_length=2000)
    """None = the configured one."""
    seed: Number | None = None
    uris: list[str] | None = Field(default=None, min_length=1)
    """Choose among these alone; None = among everything pushed that has no label."""
    allow_short: bool = Field(default=False, strict=True)


class PredictRequest(_Message):
    """Have a generation look at everything that was pushed."""

    generation: GenerationId | None = None
    """None = the one in use."""


class EvaluateRequest(_Message):
    """Hold a generation to the labels of a pool."""

    generation: GenerationId | None = None
    """None = the one in use."""


class PredictionsRequest(PageRequest):
    """Which part of the samples, and whose predictions of them."""

    generation: GenerationId | None = None
    """None = the one in use."""
    score: str = Field(default="entropy", max_length=200)
    """One that needs logits alone."""
    logits: bool = False
    """Whether each sample comes with the logits of all classes."""


class LabelItem(_Message):
    """One answer: the sample by id or by uri."""

    id: str | None = Field(default=None, min_length=1, max_length=4000)
    uri: str | None = None
    label: str = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _names_one(self) -> LabelItem:
        if (self.id is None) == (self.uri is None):
            raise ValueError("a label names its sample either by id or by uri")
        return self


class LabelsRequest(_Message):
    """Answers of one annotator."""

    labels: list[LabelItem] = Field(min_length=1)
    annotator: str = Field(default="", max_length=200)


class TrainRequest(_Message):
    """A new generation from the labels so far."""

    model: ModelName
    """An architecture, or the id of a generation to start from."""
    recipe: dict[str, Plain] = Field(default_factory=dict)
    seed: Number = 0


class PromoteRequest(_Message):
    """By what evidence a generation takes the place of the one in use."""

    on: str | None = Field(default=None, min_length=1, max_length=4000)
    """Labeled images that the server may read, on which it must beat the one in use; None = nothing is compared."""
    name: str = Field(default="", max_length=200)
    """What the record calls these images; "" = where they lie."""
    force: bool = Field(default=False, strict=True)
    """Whatever the comparison says; that is recorded."""

    @model_validator(mode="after")
    def _forces_a_comparison(self) -> PromoteRequest:
        if self.force and self.on is None:
            raise ValueError("force goes with on: without it nothing is compared")
        return self


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


class SelectionSummary(BaseModel):
    """One selection of a pool, without its rows."""

    id: str
    """Of its receipt."""
    strategy: str
    budget: int
    seed: int
    chosen: int
    """How many samples it names."""
    model: str | None = None
    """Id of the generation that chose."""
    at: str


class ReceiptView(BaseModel):
    """What a selection came from. It replays where it was made, by its id, which is a digest of all that it says there.

    Here it names no folder of the server.
    """

    id: str
    receipt: dict[str, Any]


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


class SampleView(BaseModel):
    """One pushed sample."""

    uri: str
    """As it was pushed."""


class PredictionView(BaseModel):
    """What a generation said of one pushed sample."""

    uri: str
    """As it was pushed."""
    state: SampleState
    """``waiting`` = nobody looked yet; ``broken`` = it can't be read, and ``reason`` says why."""
    predicted: str = ""
    """The class with the highest logit."""
    probability: float | None = None
    """Of that class."""
    score: float | None = None
    logits: list[float] = Field(default_factory=list)
    """In the order of ``classes``, where they were asked for."""
    reason: str = ""


class UploadView(BaseModel):
    """Bytes that the server keeps."""

    uri: str
    """By which they are pushed."""
    digest: str
    size_bytes: int
    new: bool
    """Whether the server did not have them before."""


class LabelView(BaseModel):
    """One current answer."""

    id: str
    """Of the sample: its uri as it was pushed, or the id by which it was labeled."""
    label: str
    annotator: str = ""
    at: str = ""


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


class PromotionView(GenerationView):
    """A generation that is in use now, and what spoke for it."""

    forced: bool = False
    """Whether it was promoted though it did not beat the one before."""
    evaluation: dict[str, Any] | None = None
    """Name and version of the images, the accuracy and the comparison; None = nothing was compared."""
    notes: list[str] = Field(default_factory=list)
    problem: str | None = None
    """Why it would have been refused, had nobody forced it."""


class RunView(BaseModel):
    """A run of the workspace."""

    id: str
    state: str
    rounds: int = 0
    reason: str = ""


class PoolPage(BaseModel):
    """Pools by name."""

    items: list[PoolView]
    next: str | None = None


class SamplePage(BaseModel):
    """Samples in the order in which they were pushed."""

    items: list[SampleView]
    next: str | None = None


class PredictionPage(BaseModel):
    """Samples in the order in which they were pushed, as a generation sees them."""

    generation: str
    score: str
    """Higher = more informative."""
    classes: list[str]
    items: list[PredictionView]
    next: str | None = None


class SelectionPage(BaseModel):
    """Selections in the order in which they were made."""

    items: list[SelectionSummary]
    next: str | None = None


class LabelPage(BaseModel):
    """Current answers in the order in which they arrived."""

    items: list[LabelView]
    next: str | None = None


class GenerationPage(BaseModel):
    """Generations by id."""

    items: list[GenerationView]
    next: str | None = None


class RunPage(BaseModel):
    """Runs in the order in which they were begun."""

    items: list[RunView]
    next: str | None = None


class JobPage(BaseModel):
    """Jobs in the order in which they were asked for."""

    items: list[JobView]
    next: str | None = None


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
    """The kind, such as ``UsageError``."""
    detail: str
    """One line: what was expected, what came, what to do."""
