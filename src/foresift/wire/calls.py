"""Every call of the service, once: HTTP, gRPC, the scopes of tokens and the client follow from this table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from foresift.wire import messages as m

Scope = Literal["read", "label", "run", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "label", "run", "admin")
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One thing to ask for."""

    name: str
    """Of the gRPC method."""
    method: str
    """Of HTTP."""
    path: str
    """Of HTTP; ``{names}`` in it are fields of the gRPC request."""
    scope: Scope
    """What a token must have."""
    asked: type[BaseModel] = m.Nothing
    """Body, or query of a GET."""
    answer: type[BaseModel]
    status: int = 200
    says: str
    tagged: bool = False
    """Whether the answer over HTTP has an ETag."""

    @property
    def places(self) -> tuple[str, ...]:
        """Names in the path."""
        return tuple(_PLACE.findall(self.path))

    @property
    def has_body(self) -> bool:
        """Whether what is asked goes in a body of JSON."""
        return self.method == "POST" and self.asked is not m.Nothing

    def matches(self, method: str, path: str) -> bool:
        """Whether a request of HTTP asks for this."""
        return method == self.method and self.is_at(path)

    def is_at(self, path: str) -> bool:
        """Whether a path of HTTP leads here, whatever the method."""
        return re.fullmatch(_PLACE.sub("[^/]+", self.path), path) is not None


def _pool(end: str) -> str:
    return f"/v1/pools/{{pool}}{end}"


CALLS: tuple[Call, ...] = (
    Call(
        name="Pools",
        method="GET",
        path="/v1/pools",
        scope="read",
        asked=m.PageRequest,
        answer=m.PoolPage,
        says="All pools.",
    ),
    Call(
        name="Pool", method="GET", path=_pool(""), scope="read", answer=m.PoolView, says="What was pushed.", tagged=True
    ),
    Call(
        name="Samples",
        method="GET",
        path=_pool("/samples"),
        scope="read",
        asked=m.PageRequest,
        answer=m.SamplePage,
        says="Samples as they were pushed.",
    ),
    Call(
        name="Push",
        method="POST",
        path=_pool("/samples"),
        scope="run",
        asked=m.PushRequest,
        answer=m.JobView,
        status=202,
        says="Take samples in and look at them in the background.",
    ),
    Call(
        name="Predict",
        method="POST",
        path=_pool("/predictions"),
        scope="run",
        asked=m.PredictRequest,
        answer=m.JobView,
        status=202,
        says="Let a generation look at all samples in the background.",
    ),
    Call(
        name="Predictions",
        method="GET",
        path=_pool("/predictions"),
        scope="read",
        asked=m.PredictionsRequest,
        answer=m.PredictionPage,
        says="What a generation said of the samples; nothing is inferred for it.",
    ),
    Call(
        name="Select",
        method="POST",
        path=_pool("/selections"),
        scope="run",
        asked=m.SelectionRequest,
        answer=m.SelectionView,
        says="Choose what to label next.",
    ),
    Call(
        name="Selections",
        method="GET",
        path=_pool("/selections"),
        scope="read",
        asked=m.PageRequest,
        answer=m.SelectionPage,
        says="What was chosen from a pool, and when.",
    ),
    Call(
        name="Selection",
        method="GET",
        path="/v1/selections/{selection}",
        scope="read",
        answer=m.ReceiptView,
        says="The receipt of a selection.",
        tagged=True,
    ),
    Call(
        name="Labels",
        method="GET",
        path=_pool("/labels"),
        scope="read",
        asked=m.PageRequest,
        answer=m.LabelPage,
        says="Current answers.",
    ),
    Call(
        name="Label",
        method="POST",
        path=_pool("/labels"),
        scope="label",
        asked=m.LabelsRequest,
        answer=m.LabelsView,
        says="Take answers in: all, or none.",
    ),
    Call(
        name="Train",
        method="POST",
        path=_pool("/generations"),
        scope="run",
        asked=m.TrainRequest,
        answer=m.JobView,
        status=202,
        says="Train a new generation on the labels so far, in the background.",
    ),
    Call(
        name="Evaluate",
        method="POST",
        path=_pool("/evaluations"),
        scope="run",
        asked=m.EvaluateRequest,
        answer=m.JobView,
        status=202,
        says="Hold a generation to the labels of a pool, in the background.",
    ),
    Call(
        name="Generations",
        method="GET",
        path="/v1/generations",
        scope="read",
        asked=m.PageRequest,
        answer=m.GenerationPage,
        says="All generations.",
    ),
    Call(
        name="Promote",
        method="POST",
        path="/v1/generations/{generation}/promote",
        scope="admin",
        asked=m.PromoteRequest,
        answer=m.PromotionView,
        says="Score with this generation from now on; where labeled images are named, if it beats the one in use.",
    ),
    Call(
        name="Runs",
        method="GET",
        path="/v1/runs",
        scope="read",
        asked=m.PageRequest,
        answer=m.RunPage,
        says="Runs of the workspace.",
    ),
    Call(
        name="Run", method="GET", path="/v1/runs/{run}", scope="read", answer=m.RunView, says="One run and its state."
    ),
    Call(
        name="Jobs",
        method="GET",
        path="/v1/jobs",
        scope="read",
        asked=m.PageRequest,
        answer=m.JobPage,
        says="All jobs, those before a restart included.",
    ),
    Call(
        name="Job",
        method="GET",
        path="/v1/jobs/{job}",
        scope="read",
        asked=m.JobRequest,
        answer=m.JobView,
        says="One job; with wait_s the answer comes when it is over, or then.",
    ),
    Call(name="Cancel", method="DELETE", path="/v1/jobs/{job}", scope="run", answer=m.JobView, says="Stop a job."),
    Call(
        name="Upload",
        method="POST",
        path="/v1/uploads",
        scope="run",
        answer=m.UploadView,
        status=201,
        says="Keep the bytes of one image, where the server can't read it itself; push the uri of the answer.",
    ),
    Call(
        name="Watch",
        method="GET",
        path="/v1/jobs/{job}/events",
        scope="read",
        answer=m.JobView,
        says="Progress of a job until it is over.",
    ),
)
BY_NAME = {call.name: call for call in CALLS}
STREAMS = ("Upload", "Watch")
"""Whose request or answer comes in parts."""


def call_of(method: str, path: str) -> Call | None:
    """The call that a request of HTTP asks for."""
    return next((call for call in CALLS if call.matches(method, path)), None)


def methods_at(path: str) -> tuple[str, ...]:
    """The methods of HTTP that a path takes."""
    return tuple(sorted({call.method for call in CALLS if call.is_at(path)}))
