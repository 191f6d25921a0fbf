"""Anything at all is asked of every route and every method: an answer comes, and it is never a fault of the server."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foresift.service.server import Server
from foresift.wire.calls import CALLS, STREAMS
from foresift.wire.protobuf import method_path, request_type, to_message
from foresift.wire.refusals import HTTP_OF

pytestmark = pytest.mark.timeout(280)
ANSWER_S = 60.0
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
TEXT = st.one_of(
    st.sampled_from(
        [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "p",
            "0" * 40,
            "deadbeef",
            "\x00",
            "%00",
            "é",
            "😀",
            "x" * 500,
            "margin",
            "random",
        ]
    ),
    st.text(max_size=20),
)
SPELLINGS = [
    "",
    "random",
    "entropy:",
    "margin:keep=-1",
    "margin:keep=1e99+random",
    "auto",
    "+",
    "k-center:seed=nan",
    "\x00",
]
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.sampled_from([0, -1, 2**31, 2**63, 2**64, 1e308])
)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
JSON = {"content-type": "application/json"}
FITTING = {
    "Push": st.fixed_dictionaries({"uris": st.lists(TEXT, min_size=1, max_size=3)}),
    "Select": st.fixed_dictionaries(
        {"budget": st.integers(-1, 50)},
        optional={"strategy": st.sampled_from(SPELLINGS) | TEXT, "seed": PLAIN, "uris": st.lists(TEXT, max_size=3)},
    ),
    "Label": st.fixed_dictionaries(
        {"labels": st.lists(st.fixed_dictionaries({"id": TEXT, "label": TEXT}), max_size=3)},
        optional={"annotator": TEXT},
    ),
    "Predict": st.fixed_dictionaries({}, optional={"generation": TEXT | st.none()}),
    "Evaluate": st.fixed_dictionaries({}, optional={"generation": TEXT | st.none()}),
    "Train": st.fixed_dictionaries({"model": TEXT}, optional={"recipe": st.dictionaries(TEXT, PLAIN, max_size=2)}),
}


class Schema:
    """What OpenAPI tells; a class, so that a failure does not print all of it."""

    def __init__(self, plain: dict[str, Any]) -> None:
        self.plain = plain


@pytest.fixture(scope="module")
def server(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    file = folder / "server.yml"
    file.write_text(
        "strategy: random\nmodel: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        "server: {protocol: grpc, port: 0, http_port: 0}\nlimits: {requests_a_minute: 1000000, body_mib: 1}\n"
        f"data: {{roots: ['{images}']}}\nstorage: {{home: home}}\n"
    )
    with Server(config_path=file) as started:
        yield started


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http_urls[0], timeout=ANSWER_S) as client:
        while client.get("/ready").status_code != 200:  # the first look at a network loads what it needs
            client.get("/health")
        yield client


@pytest.fixture(scope="module")
def schema(http: httpx.Client) -> Schema:
    return Schema(http.get("/openapi.json").json())


def check(answer: httpx.Response, schema: Schema, call: Any) -> None:
    """An answer of a kind that OpenAPI tells of, in the shape that it tells of."""
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return
    if answer.status_code in (404, 405) and "detail" in answer.json():  # a place that is no route at all
        return
    told = schema.plain["paths"][call.path][call.method.lower()]["responses"]
    assert str(answer.status_code) in told, (answer.status_code, answer.text)
    shape = told[str(answer.status_code)]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), {**shape, "components": schema.plain["components"]})


def sendable(text: object) -> str:
    return str(text).encode("utf-8", "replace").decode()


@st.composite
def wild(draw: st.DrawFn) -> tuple[Any, str, bytes, dict[str, str]]:
    """A call with anything in its path, its body or its query."""
    call = draw(st.sampled_from(CALLS))
    path = call.path.format(**{name: quote(sendable(draw(TEXT)), safe="") for name in call.places})
    asked = draw(ANY)
    body = draw(st.sampled_from([json.dumps(asked).encode(), b"", b"{", b"\xff", b"[" * 1000]))
    query = {sendable(key): sendable(one) for key, one in asked.items()} if isinstance(asked, dict) else {}
    return call, path, body, query


@st.composite
def fitting(draw: st.DrawFn) -> tuple[Any, str, bytes]:
    """A call with a body that is nearly right."""
    call = draw(st.sampled_from([call for call in CALLS if call.name in FITTING]))
    path = call.path.format(pool=draw(st.sampled_from(["p", "q", "empty"])))
    return call, path, json.dumps(draw(FITTING[call.name])).encode()


@RELAXED
@given(drawn=wild())
def test_no_request_of_http_is_a_fault(
    http: httpx.Client, schema: Schema, drawn: tuple[Any, str, bytes, dict[str, str]]
) -> None:
    call, path, body, query = drawn
    given_as = {"content": body, "headers": JSON} if call.has_body else {"params": query}
    check(http.request(call.method, path, **given_as), schema, call)


@RELAXED
@given(drawn=fitting())
def test_no_fitting_request_of_http_is_a_fault(
    http: httpx.Client, schema: Schema, drawn: tuple[Any, str, bytes]
) -> None:
    call, path, body = drawn
    check(http.request(call.method, path, content=body, headers=JSON), schema, call)


@RELAXED
@given(seed=st.integers(0, 2**32))
def test_no_message_of_grpc_is_a_fault(server: Server, channel: Any, seed: int) -> None:
    draw = random.Random(seed)
    call = draw.choice([call for call in CALLS if call.name not in STREAMS])
    noise = draw.randbytes(draw.choice([0, 1, 5, 40]))
    fields = [field for field in request_type(call.name).DESCRIPTOR.fields if field.cpp_type == field.CPPTYPE_STRING]
    words = ["", "..", "p", "0" * 40, "margin", "a b", "x" * 3000, "é\x00"]
    plain = {one.name: [draw.choice(words)] if one.is_repeated else draw.choice(words) for one in fields}
    bodies = [noise, to_message(request_type(call.name), plain).SerializeToString()]
    ask = channel.unary_unary(method_path(call.name))
    error = ask.future(draw.choice(bodies), timeout=ANSWER_S).exception()
    if error is not None:  # what is no message at all, gRPC itself answers with INTERNAL
        known = {*HTTP_OF} - {"INTERNAL"}
        assert error.code().name in known or "deserializing" in error.details(), (call.name, error)


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc_urls[0].partition("://")[2]) as opened:
        yield opened


def test_the_server_still_answers(server: Server, http: httpx.Client) -> None:
    assert http.get("/health").status_code == 200
