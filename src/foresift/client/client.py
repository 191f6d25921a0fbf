"""``foresift.Client``: three lines to a selection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from foresift.core.errors import ForesiftError, MissingExtraError
from foresift.wire.messages import GenerationView, JobView, LabelsView, PoolView, SelectionView

Answer = TypeVar("Answer", bound=BaseModel)
DEFAULT_POOL = "default"
WAIT_S = 20.0
"""One long poll."""


class ServerError(ForesiftError):
    """What the server said, or that it can't be reached."""

    def __init__(self, message: str, *, status: int = 0, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


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

    def cancel(self) -> JobView:
        """Stop it."""
        self.view = self._client._cancel(self.id)
        return self.view


class Client:
    """A connection to a server.

    Args:
        al_server_url: ``localhost:8888``, ``http://host:port`` or ``https://host:port``.
        token: what the server asks for; ``$FORESIFT_TOKEN`` by default.
        pool: which of the server's pools.
        timeout_s: of one request.
    """

    def __init__(
        self,
        al_server_url: str = "localhost:8888",
        *,
        token: str | None = None,
        pool: str = DEFAULT_POOL,
        timeout_s: float = 600.0,
    ) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("the client", "client") from None
        self.url = al_server_url if "://" in al_server_url else f"http://{al_server_url}"
        self.pool = pool
        token = token or os.environ.get("FORESIFT_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s)

    def push_data(
        self, data_list: Sequence[str | os.PathLike[str]], asynchronous: bool = False
    ) -> Job | dict[str, Any]:
        """Let the server look at samples: addresses that it may read; relative paths start here.

        Args:
            asynchronous: return a :class:`Job` at once, instead of what became of the samples.
        Raises:
            ServerError: an address that the server may not read; nothing was taken.
        """
        view = self._ask("POST", f"{self._base}/samples", JobView, {"uris": [_address(one) for one in data_list]})
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
        return self._ask("POST", f"{self._base}/selections", SelectionView, asked)

    def label(self, labels: dict[str, str], *, annotator: str = "") -> LabelsView:
        """Deliver answers: label by address, as pushed."""
        items = [{"uri": _address(uri), "label": value} for uri, value in labels.items()]
        return self._ask("POST", f"{self._base}/labels", LabelsView, {"labels": items, "annotator": annotator})

    def train(self, model: str, *, recipe: dict[str, Any] | None = None, seed: int = 0) -> Job:
        """Train a new generation on the labels so far."""
        asked = {"model": model, "recipe": recipe or {}, "seed": seed}
        return Job(self, self._ask("POST", f"{self._base}/generations", JobView, asked))

    def promote(self, generation: str) -> GenerationView:
        """Let the server score with a generation from now on."""
        return self._ask("POST", f"/v1/generations/{quote(generation, safe='')}/promote", GenerationView, None)

    def status(self) -> PoolView:
        """What was pushed so far."""
        return self._ask("GET", self._base, PoolView, None)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _base(self) -> str:
        return f"/v1/pools/{quote(self.pool, safe='')}"

    def _job(self, job: str, *, wait_s: float) -> JobView:
        return self._ask("GET", f"/v1/jobs/{job}?wait_s={wait_s:g}", JobView, None)

    def _cancel(self, job: str) -> JobView:
        return self._ask("DELETE", f"/v1/jobs/{job}", JobView, None)

    def _ask(self, method: str, path: str, kind: type[Answer], body: dict[str, Any] | None) -> Answer:
        import httpx

        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ServerError(f"{self.url} can't be reached: {error}; is `foresift serve` running there?") from None
        if answer.is_success:
            return kind.model_validate(answer.json())
        raise _refusal(answer)


def _refusal(answer: Any) -> ServerError:
    try:
        plain = answer.json()
        return ServerError(plain["detail"], status=answer.status_code, kind=plain["error"])
    except (ValueError, KeyError, TypeError):
        return ServerError(f"the server answered {answer.status_code}", status=answer.status_code)


def _address(one: str | os.PathLike[str]) -> str:
    """A path that exists here becomes absolute; anything else goes as it is."""
    text = os.fspath(one)
    return str(Path(text).absolute()) if "://" not in text and Path(text).exists() else text
