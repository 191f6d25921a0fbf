"""The application over HTTP: ``/v1``, OpenAPI, one line of JSON for every refusal."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from foresift.core.about import foresift_version
from foresift.core.errors import ForesiftError
from foresift.service.answers import answer
from foresift.service.application import Application
from foresift.service.gate import Gate
from foresift.service.jobs import OVER
from foresift.service.refusals import status_of
from foresift.wire.calls import BY_NAME, CALLS, Call, methods_at
from foresift.wire.messages import JobRequest, JobView, Nothing, Problem, UploadView
from foresift.wire.refusals import GRPC_OF

THREADS = 64
"""Requests that are answered at once; waiting for a job takes none."""
LOOK_S = 0.05
"""Between two looks at a job that somebody waits for."""
Endpoint = Callable[..., Awaitable[Response]]
_BYTES = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_JOB = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": "#/components/schemas/JobView"},
}
_EVENT = {
    "type": "object",
    "properties": {"event": {"const": "progress"}, "data": _JOB},
    "required": ["event", "data"],
}
_TOLD: Mapping[str, Mapping[str, Any]] = {
    "Upload": {"openapi_extra": {"requestBody": _BYTES}},
    "Watch": {"response_class": StreamingResponse},  # no JSON: what it is follows from _other_answers
}
"""What OpenAPI could not tell from the table of calls."""


def http_app(application: Application) -> FastAPI:
    """The ASGI application of a server."""
    api = FastAPI(
        title="Foresift", version=foresift_version(), docs_url="/docs", redoc_url=None, redirect_slashes=False
    )
    api.add_middleware(Gate, application=application)
    threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="foresift-http")
    application.when_closing(partial(threads.shutdown, wait=False))
    _add_refusals(api, application)
    _add_state(api, application)
    own = {"Job": _job, "Upload": _upload, "Watch": _watch}
    for call in CALLS:
        endpoint = own[call.name](application, threads) if call.name in own else _plain(application, threads, call)
        api.add_api_route(
            call.path,
            endpoint,
            methods=[call.method],
            name=call.name,
            operation_id=call.name,
            summary=call.says,
            status_code=call.status,
            response_model=call.answer,
            responses=_other_answers(call),
            **_TOLD.get(call.name, {}),
        )
    return api


def _other_answers(call: Call) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI tells besides the answer."""
    return {
        **_refusals(),
        **({304: {"description": "as the client has it"}} if call.tagged else {}),
        **({200: _text("event-stream", _EVENT)} if call.name == "Watch" else {}),
    }


def _refusals() -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem} for status in (408, *GRPC_OF) if status != 500}


def _text(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"content": {f"text/{kind}": {"schema": schema}}}


def _plain(application: Application, threads: ThreadPoolExecutor, call: Call) -> Endpoint:
    """The endpoint of a call; its parameters, which FastAPI reads, are the names in the path and what is asked."""

    async def endpoint(request: Request, asked: Any = None, **places: str) -> Response:
        body = asked if asked is not None else Nothing()
        caller, key = request.scope["state"]["caller"], request.headers.get("idempotency-key", "")
        view = await _in_thread(threads, lambda: answer(application, call, places, body, caller=caller, key=key))
        return _answer(application.discretion.view(view), call, request)

    word = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("request", word, annotation=Request)]
    parameters += [inspect.Parameter(place, word, annotation=str) for place in call.places]
    if call.asked is not Nothing:
        annotation = call.asked if call.has_body else Annotated[call.asked, Query()]
        parameters.append(inspect.Parameter("asked", word, annotation=annotation, default=_default(call)))
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return endpoint


def _default(call: Call) -> Any:
    """What is asked where nothing is sent; nothing where something must be."""
    if not call.has_body or any(field.is_required() for field in call.asked.model_fields.values()):
        return inspect.Parameter.empty
    return call.asked()


def _job(application: Application, threads: ThreadPoolExecutor) -> Endpoint:
    async def job_of(job: str, asked: Annotated[JobRequest, Query()]) -> Response:
        loop = asyncio.get_running_loop()
        until = loop.time() + asked.wait_s
        view = await _in_thread(threads, lambda: application.wait(job, timeout_s=0))
        while view.state not in OVER and loop.time() < until and not application.draining.is_set():
            await asyncio.sleep(min(LOOK_S, max(0.0, until - loop.time())))
            view = application.job_view(job)
        return JSONResponse(application.discretion.view(view))

    return job_of


def _watch(application: Application, threads: ThreadPoolExecutor) -> Endpoint:
    async def watch(job: str) -> Response:
        await _in_thread(threads, lambda: application.wait(job, timeout_s=0))  # refuses what is not there

        async def stream() -> AsyncIterator[str]:
            last: JobView | None = None
            while not application.draining.is_set():
                view = application.job_view(job)
                if view != last:
                    yield f"event: progress\ndata: {json.dumps(application.discretion.view(view))}\n\n"
                    last = view
                if view.state in OVER:
                    return
                await asyncio.sleep(LOOK_S)

        return StreamingResponse(stream(), media_type="text/event-stream")

    return watch


def _upload(application: Application, threads: ThreadPoolExecutor) -> Endpoint:
    async def upload(request: Request) -> Response:
        with application.uploads.begin() as coming:
            async for part in request.stream():
                await _in_thread(threads, partial(coming.write, part))
            view: UploadView = await _in_thread(threads, coming.finish)
        application.metrics.uploaded(view.size_bytes)
        return JSONResponse(application.discretion.view(view), status_code=BY_NAME["Upload"].status)

    return upload


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _answer(plain: Mapping[str, Any], call: Call, request: Request) -> Response:
    answered = JSONResponse(plain, status_code=call.status)
    if not call.tagged:
        return answered
    tag = f'"{hashlib.sha256(bytes(answered.body)).hexdigest()[:32]}"'
    if tag in (one.strip() for one in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers={"ETag": tag})
    answered.headers["ETag"] = tag
    return answered


def _add_refusals(api: FastAPI, application: Application) -> None:
    @api.exception_handler(ForesiftError)
    async def refused(_: Request, error: ForesiftError) -> Response:
        return problem(status_of(error), type(error).__name__, application.discretion.refusal(error))

    @api.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # FastAPI's, for bytes that are no text and nests without end
            return problem(422, "UsageError", "body: expected JSON in UTF-8")
        kind = "NotFoundError" if error.status_code == 404 else "UsageError"
        methods = methods_at(request.scope["path"]) if error.status_code == 405 else ()
        allowed = {"Allow": ", ".join(methods)} if methods else {}  # FastAPI names those of one route alone
        return problem(error.status_code, kind, error.detail, {**(error.headers or {}), **allowed})

    @api.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        return problem(422, "UsageError", complaint(error.errors()))


def _add_state(api: FastAPI, application: Application) -> None:
    @api.get("/health", responses=_refusals())
    async def health() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok", "name": application.settings.name, "version": foresift_version()}

    @api.get("/ready", responses=_refusals())
    async def ready() -> Response:
        """The model is there, and the server is not about to end: samples can be scored."""
        application.check_ready()
        return JSONResponse({"status": "ready"})

    @api.get("/metrics", response_class=Response, responses={**_refusals(), 200: _text("plain", {"type": "string"})})
    async def metrics() -> Response:
        """Counters for Prometheus; a token needs the scope read."""
        return Response(application.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def complaint(errors: Any) -> str:
    """One line for the first thing that is wrong with a request."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    return f"{place or 'body'}: {first['msg']}"


def problem(status: int, error: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A refusal."""
    told = Problem(error=error, detail=detail.encode("utf-8", "replace").decode())
    return JSONResponse(told.model_dump(), status_code=status, headers=dict(headers or {}))
