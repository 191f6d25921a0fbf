"""``foresift.Client``: three lines to a selection."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel

from foresift.client.transports import ServerError, transport_to
from foresift.wire.calls import BY_NAME
from foresift.wire.messages import (
    MOST_A_PAGE,
    GenerationView,
    JobView,
    LabelsView,
    LabelView,
    PoolView,
    PredictionView,
    PromotionView,
    ReceiptView,
    SelectionSummary,
    SelectionView,
    UploadView,
)

Answer = TypeVar("Answer", bound=BaseModel)
DEFAULT_POOL = "default"
WAIT_S = 20.0
"""One long poll."""


class Job:
    """Work on the server: ask how far it is, wait for it, or stop it."""

    def __init__(self, client: Client, view: JobView) -> None:
        self._client = client
        self.view = view

    @property
    def id(self) -> str:
        """Its id on the server."""
        return self.view.id

    def status(self) -> JobView:
        """How far it is now."""
        self.view = self._client._job(self.id, wait_s=0)
        return self.view

    def wait(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Its answer, once it is done.

        Raises:
            ServerError: it failed or was cancelled.
            TimeoutError: it is not over after ``timeout_s``.
        """
        left = timeout_s
        while self.view.state not in ("done", "failed", "cancelled"):
            step = WAIT_S if left is None else min(WAIT_S, left)
            self.view = self._client._job(self.id, wait_s=step)
            if left is not None and (left := left - step) <= 0 and self.view.state in ("queued", "running"):
                raise TimeoutError(f"job {self.id} is still {self.view.state}")
        if self.view.state != "done":
            raise ServerError(f"job {self.view.kind} {self.view.state}: {self.view.reason}", kind=self.view.state)
        return self.view.answer

    def progress(self) -> Iterator[JobView]:
        """How far it is, whenever that changes, until it is over."""
        for view in self._client._watch(self.id):
            self.view = view
            yield view

    def cancel(self) -> JobView:
        """Stop it."""
        self.view = self._client._cancel(self.id)
        return self.view


class Client:
    """A connection to a server.

    Args:
        al_server_url: ``localhost:8888`` (HTTP, else gRPC), ``http://host:port``, ``https://``, ``grpc://`` or
            ``grpcs://``.
        token: what the server asks for; ``$FORESIFT_TOKEN`` by default.
        pool: which of the server's pools.
        timeout_s: of one request.
        certificate: a file in PEM to trust beside the usual authorities, for ``https://`` and ``grpcs://``.
    """

    def __init__(
        self,
        al_server_url: str = "localhost:8888",
        *,
        token: str | None = None,
        pool: str = DEFAULT_POOL,
        timeout_s: float = 600.0,
        certificate: str | os.PathLike[str] | None = None,
    ) -> None:
        self.url, self.pool = al_server_url, pool
        token = token or os.environ.get("FORESIFT_TOKEN") or None
        authority = None if certificate is None else Path(certificate).read_bytes()
        self._way = transport_to(al_server_url, token=token, timeout_s=timeout_s, authority=authority)

    def push_data(
        self, data_list: Sequence[str | os.PathLike[str]], asynchronous: bool = False, *, key: str = ""
    ) -> Job | dict[str, Any]:
        """Let the server look at samples: addresses that it may read; relative paths start here.

        Args:
            asynchronous: return a :class:`Job` at once, instead of what became of the samples.
            key: an idempotency key; asked again with the same one, it is the same job.
        Raises:
            ServerError: an address that the server may not read; nothing was taken.
        """
        view = self._ask("Push", JobView, {"uris": [_address(one) for one in data_list]}, key=key)
        job = Job(self, view)
        return job if asynchronous else job.wait()

    def query(self, budget: int, *, strategy: str | None = None, seed: int | None = None) -> list[str]:
        """Addresses of what to label next, in rank order, as they were pushed."""
        return [row.uri for row in self.select(budget, strategy=strategy, seed=seed).rows]

    def query_by_uri(
        self, uris: Sequence[str], budget: int, *, strategy: str | None = None, seed: int | None = None
    ) -> list[str]:
        """Those of the given addresses to label next, in rank order."""
        given = [str(uri) for uri in uris]
        back = dict(zip(map(_address, given), given, strict=True))
        view = self.select(budget, strategy=strategy, seed=seed, uris=list(back))
        return [back.get(row.uri, row.uri) for row in view.rows]

    def select(
        self,
        budget: int,
        *,
        strategy: str | None = None,
        seed: int | None = None,
        uris: Sequence[str] | None = None,
        allow_short: bool = False,
    ) -> SelectionView:
        """The whole answer: ids, scores, the receipt's id."""
        asked = {"budget": budget, "strategy": strategy, "seed": seed, "uris": uris, "allow_short": allow_short}
        return self._ask("Select", SelectionView, asked)

    def label(self, labels: dict[str, str], *, annotator: str = "") -> LabelsView:
        """Deliver answers: label by address, as pushed."""
        items = [{"uri": _address(uri), "label": value} for uri, value in labels.items()]
        return self._ask("Label", LabelsView, {"labels": items, "annotator": annotator})

    def train(self, model: str, *, recipe: dict[str, Any] | None = None, seed: int = 0, key: str = "") -> Job:
        """Train a new generation on the labels so far; ``key`` as in :meth:`push_data`."""
        asked = {"model": model, "recipe": recipe or {}, "seed": seed}
        return Job(self, self._ask("Train", JobView, asked, key=key))

    def evaluate(self, generation: str | None = None, *, key: str = "") -> Job:
        """Hold a generation, or the one in use, to the labels so far: best of a pool that it was not trained on."""
        return Job(self, self._ask("Evaluate", JobView, {"generation": generation}, key=key))

    def predict(self, generation: str | None = None, *, key: str = "") -> Job:
        """Let a generation, or the one in use, look at everything pushed, so that :meth:`predictions` has it."""
        return Job(self, self._ask("Predict", JobView, {"generation": generation}, key=key))

    def predictions(
        self, generation: str | None = None, *, score: str = "entropy", logits: bool = False
    ) -> Iterator[PredictionView]:
        """What a generation, or the one in use, said of every sample, in the order in which they were pushed."""
        asked = {"generation": generation, "score": score, "logits": logits}
        return self._all("Predictions", asked, held=("generation",))

    def selections(self) -> Iterator[SelectionSummary]:
        """What was chosen from the pool so far; :meth:`receipt` has the whole of each."""
        return self._all("Selections", {})

    def labels(self) -> Iterator[LabelView]:
        """Answers so far."""
        return self._all("Labels", {})

    def generations(self) -> Iterator[GenerationView]:
        """Generations that may be promoted, the one in use marked."""
        return self._all("Generations", {})

    def promote(
        self, generation: str, *, on: str | os.PathLike[str] | None = None, name: str = "", force: bool = False
    ) -> PromotionView:
        """Let the server score with a generation from now on.

        Args:
            on: labeled images that the server may read: it must beat the one in use on them, or ``ServerError`` says
                by how much it does not. None = nothing is compared.
            name: what the record calls these images.
            force: promote it whatever they say; that is recorded.
        Raises:
            ServerError: it does not beat the one in use; or the server knows of no comparison, and promoted it.
        """
        asked = {"on": None if on is None else _address(on), "name": name, "force": force}
        view = self._ask("Promote", PromotionView, asked, generation=generation)
        if on is not None and view.evaluation is None and not view.notes and not view.forced:
            raise ServerError(
                f"{self.url}: this server is too old for on=: it promoted {generation} and compared nothing; promote "
                "the generation that was in use before again, or bring the server up to date"
            )
        return view

    def receipt(self, selection: str) -> dict[str, Any]:
        """What a selection came from."""
        return self._ask("Selection", ReceiptView, {}, selection=selection).receipt

    def upload(self, image: bytes | str | os.PathLike[str]) -> UploadView:
        """Send the bytes of one image, or of a file here; push the ``uri`` of the answer.

        The last resort, for images that the server can't read where they lie. Sent twice, it is kept once.
        """
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
        return UploadView.model_validate(self._way.upload(BY_NAME["Upload"], data))

    def status(self) -> PoolView:
        """What was pushed so far."""
        return self._ask("Pool", PoolView, {})

    def close(self) -> None:
        """Let go of the connection."""
        self._way.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _job(self, job: str, *, wait_s: float) -> JobView:
        return self._ask("Job", JobView, {"wait_s": wait_s}, job=job)

    def _cancel(self, job: str) -> JobView:
        return self._ask("Cancel", JobView, {}, job=job)

    def _watch(self, job: str) -> Iterator[JobView]:
        return map(JobView.model_validate, self._way.watch(BY_NAME["Watch"], {"job": job}))

    def _all(self, name: str, asked: dict[str, Any], *, held: tuple[str, ...] = ()) -> Iterator[Any]:
        """The items of every page of a list; the first page says what the ``held`` fields are for the others."""
        after: str | None = None
        while True:
            page: Any = self._ask(name, BY_NAME[name].answer, {**asked, "limit": MOST_A_PAGE, "after": after})
            yield from page.items
            asked = asked if after else {**asked, **{field: getattr(page, field) for field in held}}
            after = page.next
            if after is None:
                return

    def _ask(self, name: str, kind: type[Answer], asked: dict[str, Any], *, key: str = "", **places: str) -> Answer:
        call = BY_NAME[name]
        at = {"pool": self.pool, **places}
        return kind.model_validate(self._way.ask(call, {place: at[place] for place in call.places}, asked, key=key))


def _address(one: str | os.PathLike[str]) -> str:
    """A path that exists here becomes absolute; anything else goes as it is."""
    text = os.fspath(one)
    return str(Path(text).absolute()) if "://" not in text and Path(text).exists() else text
