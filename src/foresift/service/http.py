"""The application over HTTP: ``/v1``, OpenAPI, one line of JSON for every refusal."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from foresift.core.about import foresift_version
from foresift.core.errors import BudgetError, ForesiftError, UsageError
from foresift.service.allowed import ForbiddenError
from foresift.service.application import Application, NotFoundError
from foresift.service.jobs import OVER
from foresift.wire.messages import (
    GenerationView,
    JobView,
    LabelsRequest,
    LabelsView,
    PoolView,
    Problem,
    PushRequest,
    SelectionRequest,
    SelectionView,
    TrainRequest,
)

OPEN = ("/health", "/ready")
"""Paths that need no token."""
Next = Callable[[Request], Awaitable[Response]]


def http_app(application: Application, *, token: str | None = None) -> FastAPI:
    """The ASGI application of a server.

    Args:
        token: what every request must bear; None = nobody is asked.
    """
    api = FastAPI(title="Foresift", version=foresift_version(), docs_url="/docs", redoc_url=None)
    _add_guards(api, application, token)
    _add_state(api, application)
    _add_pools(api, application)
    _add_generations(api, application)
    _add_jobs(api, application)
    return api


def _add_guards(api: FastAPI, application: Application, token: str | None) -> None:
    most = application.settings.limits.body_mib << 20

    @api.middleware("http")
    async def guarded(request: Request, call_next: Next) -> Response:
        if token is not None and request.url.path not in OPEN and not _bears(request, token):
            return _problem(401, "UnauthorizedError", "this server asks for a token: Authorization: Bearer TOKEN")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            return _problem(413, "UsageError", f"the body is larger than {most >> 20} MiB (limits.body_mib)")
        return await call_next(request)

    @api.exception_handler(ForesiftError)
    async def refused(_: Request, error: ForesiftError) -> Response:
        return _problem(_status(error), type(error).__name__, str(error))

    @api.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        return _problem(error.status_code, "NotFoundError" if error.status_code == 404 else "UsageError", error.detail)

    @api.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return _problem(422, "UsageError", f"{place or 'body'}: {first['msg']}")


def _add_state(api: FastAPI, application: Application) -> None:
    @api.get("/health")
    def health() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok", "name": application.settings.name, "version": foresift_version()}

    @api.get("/ready", responses={503: {"model": Problem}})
    def ready() -> Response:
        """The model is there: samples can be scored."""
        try:
            application.model()
        except ForesiftError as error:
            return _problem(503, type(error).__name__, str(error))
        return JSONResponse({"status": "ready"})


def _add_pools(api: FastAPI, application: Application) -> None:
    @api.get("/v1/pools")
    def pools() -> list[PoolView]:
        """All pools."""
        return application.pools()

    @api.get("/v1/pools/{pool}")
    def pool_of(pool: str) -> PoolView:
        """One pool."""
        return application.pool_view(pool)

    @api.post("/v1/pools/{pool}/samples", status_code=202)
    def push(pool: str, request: PushRequest) -> JobView:
        """Take samples in and look at them in the background."""
        return application.push(pool, request.uris)

    @api.post("/v1/pools/{pool}/selections")
    def select(pool: str, request: SelectionRequest) -> SelectionView:
        """Choose what to label next."""
        return application.query(pool, request)

    @api.get("/v1/selections/{selection}")
    def selection_of(selection: str) -> dict[str, Any]:
        """The receipt of a selection."""
        return application.selection(selection)

    @api.post("/v1/pools/{pool}/labels")
    def label(pool: str, request: LabelsRequest) -> LabelsView:
        """Take answers in: all, or none."""
        return application.label(pool, request)


def _add_generations(api: FastAPI, application: Application) -> None:
    @api.post("/v1/pools/{pool}/generations", status_code=202)
    def train(pool: str, request: TrainRequest) -> JobView:
        """Train a new generation on the labels so far, in the background."""
        return application.train(pool, request)

    @api.get("/v1/generations")
    def generations() -> list[GenerationView]:
        """All generations."""
        return application.generations()

    @api.post("/v1/generations/{generation}/promote")
    def promote(generation: str) -> GenerationView:
        """Score with this generation from now on."""
        return application.promote(generation)


def _add_jobs(api: FastAPI, application: Application) -> None:
    @api.get("/v1/jobs")
    def jobs() -> list[JobView]:
        """All jobs since the server started."""
        return [work.view() for work in application.jobs.all()]

    @api.get("/v1/jobs/{job}")
    def job_of(job: str, wait_s: Annotated[float, Query(ge=0, le=30)] = 0.0) -> JobView:
        """One job; with ``wait_s`` the answer comes when it is over, or then."""
        return application.wait(job, timeout_s=wait_s)

    @api.delete("/v1/jobs/{job}")
    def cancel(job: str) -> JobView:
        """Stop a job."""
        work = application.job(job)
        application.jobs.cancel(work)
        return work.view()

    @api.get("/v1/jobs/{job}/events")
    async def events(job: str) -> StreamingResponse:
        """Progress as server-sent events until the job is over."""
        work = application.job(job)

        async def stream() -> AsyncIterator[str]:
            last = ""
            while True:
                view = work.view()
                if (said := json.dumps(view.model_dump())) != last:
                    yield f"event: progress\ndata: {said}\n\n"
                    last = said
                if view.state in OVER:
                    return
                await asyncio.sleep(0.2)

        return StreamingResponse(stream(), media_type="text/event-stream")


def _bears(request: Request, token: str) -> bool:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def _status(error: ForesiftError) -> int:
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, ForbiddenError):
        return 403
    if isinstance(error, BudgetError):
        return 422
    return 422 if isinstance(error, UsageError) else 409


def _problem(status: int, error: str, detail: str) -> JSONResponse:
    return JSONResponse(Problem(error=error, detail=detail).model_dump(), status_code=status)
