"""Every call through HTTP and through gRPC: the same answers, the same refusals, one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from foresift.client import Client, ServerError
from foresift.client.transports import Grpc, Http
from foresift.service.answers import ANSWERS
from foresift.service.server import Server
from foresift.wire import compiling
from foresift.wire.calls import BY_NAME, CALLS, STREAMS, call_of
from foresift.wire.messages import JobView
from foresift.wire.protobuf import SERVICE, answer_type, request_type, service, to_message, to_plain
from foresift.wire.refusals import GRPC_OF

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    file = folder / "server.yml"
    file.write_text(
        "name: both\nstrategy: margin\nmodel: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        "server: {protocol: grpc, port: 0, http_port: 0}\n"
        f"data: {{roots: ['{images}']}}\nstorage: {{home: home}}\n"
    )
    with Server(config_path=file) as started:
        yield started


@pytest.fixture(scope="module")
def ways(server: Server) -> Iterator[tuple[Http, Grpc]]:
    http = Http(server.http_urls[0], token=None, timeout_s=60)
    other = Grpc(server.grpc_urls[0], token=None, timeout_s=60)
    yield http, other
    http.close()
    other.close()


def said(way: Http | Grpc, name: str, places: dict[str, str], asked: dict[str, Any]) -> Any:
    """The answer as its message reads it, or the refusal."""
    call = BY_NAME[name]
    try:
        return call.answer.model_validate(way.ask(call, places, asked)).model_dump(mode="json")
    except ServerError as error:
        return error.status, error.kind, str(error)


def both(ways: tuple[Http, Grpc], name: str, places: dict[str, str] | None = None, **asked: Any) -> Any:
    first, second = (said(way, name, places or {}, asked) for way in ways)
    assert first == second, name
    return first


def ended(ways: tuple[Http, Grpc], view: Any) -> Any:
    while view["state"] not in ("done", "failed"):
        view = said(ways[0], "Job", {"job": view["id"]}, {"wait_s": 30})
    return view


def test_every_call_gives_the_same_through_both(server: Server, ways: tuple[Http, Grpc], images: Path) -> None:
    uris, pool = sorted(map(str, images.rglob("*.png")))[4::3], {"pool": "whole"}
    pushed = [said(way, "Push", pool, {"uris": uris}) for way in ways]
    assert [view["kind"] for view in pushed] == ["push", "push"]
    over = [ended(ways, view) for view in pushed]
    assert [view["answer"]["usable"] for view in over] == [12, 12]
    job = {"job": over[0]["id"]}
    asked = {"names"}  # of calls that were compared
    chosen = both(ways, "Select", pool, budget=4, strategy="margin", seed=3)
    labels = [{"uri": uri, "label": Path(uri).parent.name} for uri in uris[:8]]
    first = said(ways[0], "Label", pool, {"labels": labels, "annotator": "jo"})
    again = said(ways[1], "Label", pool, {"labels": labels, "annotator": "jo"})
    assert (first["new"], again["repeated"], first["labeled"]) == (8, 8, again["labeled"])
    trained = [said(way, "Train", pool, {"model": "mlp:8", "recipe": {"epochs": 1}, "seed": 2}) for way in ways]
    made = [ended(ways, view)["answer"]["generation"] for view in trained]
    assert made[0] == made[1]
    looked = [ended(ways, said(way, "Predict", pool, {"generation": made[0]})) for way in ways]
    assert [view["answer"]["usable"] for view in looked] == [12, 12]
    held = [ended(ways, said(way, "Evaluate", pool, {"generation": made[0]}))["answer"] for way in ways]
    assert held[0] == held[1]
    assert held[0]["metrics"]["n"] == 8
    page = both(ways, "Predictions", pool, generation=made[0], score="margin", logits=True, limit=5)
    assert [(item["state"], len(item["logits"])) for item in page["items"]] == [("ready", 2)] * 5
    assert both(ways, "Promote", {"generation": made[0]})["in_use"]
    for name, places in {
        "Pools": {},
        "Pool": pool,
        "Samples": pool,
        "Labels": pool,
        "Predictions": pool,
        "Selections": pool,
        "Generations": {},
        "Runs": {},
        "Jobs": {},
        "Job": job,
        "Selection": {"selection": chosen["id"]},
        "Cancel": job,
    }.items():
        told = both(ways, name, places)
        assert isinstance(told, dict), name
        assert str(server.base) not in json.dumps(told), name
        asked.add(name)
    assert both(ways, "Run", {"run": "none"})[:2] == (404, "UnknownRecordError")
    seen = [[JobView.model_validate(view) for view in way.watch(BY_NAME["Watch"], job)] for way in ways]
    assert seen[0] == seen[1]
    assert seen[0][-1].state == "done"
    data = Path(uris[0]).read_bytes()
    sent = [way.upload(BY_NAME["Upload"], data) for way in ways]
    assert sent[0]["digest"] == sent[1]["digest"]
    assert [one["new"] for one in sent] == [True, False]
    changing = {"Select", "Label", "Push", "Predict", "Train", "Evaluate", "Promote", "Upload"}
    assert asked | changing | {"Run", "Watch"} >= set(BY_NAME)


@pytest.mark.parametrize(
    ("name", "places", "asked", "status"),
    [
        ("Push", {"pool": "p"}, {"uris": ["/etc/passwd"]}, 403),
        ("Push", {"pool": "p"}, {"uris": []}, 422),
        ("Push", {"pool": "../p"}, {"uris": ["x"]}, (403, 404, 422)),
        ("Select", {"pool": "empty"}, {"budget": 3}, 409),
        ("Select", {"pool": "empty"}, {"budget": 0}, 422),
        ("Select", {"pool": "empty"}, {"budget": 3, "seed": -1}, 422),
        ("Label", {"pool": "p"}, {"labels": [{"label": "x"}]}, 422),
        ("Label", {"pool": "p"}, {"labels": [{"id": "0" * 40, "label": "x"}]}, 409),
        ("Predict", {"pool": "empty"}, {}, 409),
        ("Predictions", {"pool": "empty"}, {}, 409),
        ("Predictions", {"pool": "p"}, {"score": "nothing"}, 422),
        ("Predictions", {"pool": "p"}, {"score": "loss"}, 422),
        ("Predictions", {"pool": "p"}, {"generation": "x"}, 422),
        ("Predictions", {"pool": "p"}, {"generation": "0" * 40}, 409),
        ("Selections", {"pool": "a b"}, {}, 422),
        ("Selections", {"pool": "p"}, {"after": "x"}, 422),
        ("Evaluate", {"pool": "p"}, {}, 409),
        ("Train", {"pool": "p"}, {"model": "mlp:8"}, 409),
        ("Train", {"pool": "p"}, {"model": "/etc/passwd"}, 422),
        ("Promote", {"generation": "."}, {}, (404, 405)),
        ("Promote", {"generation": "0" * 40}, {}, 409),
        ("Promote", {"generation": "0" * 40}, {"on": ""}, 422),
        ("Promote", {"generation": "0" * 40}, {"force": True}, 422),
        ("Selection", {"selection": "nothing"}, {}, 404),
        ("Job", {"job": "nothing"}, {}, 404),
        ("Jobs", {}, {"limit": 0}, 422),
        ("Jobs", {}, {"after": "x"}, (404, 422)),
        ("Samples", {"pool": "p"}, {"after": "x"}, 422),
        ("Pool", {"pool": "a b"}, {}, 422),
    ],
)
def test_refusals_are_the_same(
    ways: tuple[Http, Grpc], name: str, places: dict[str, str], asked: dict[str, Any], status: int | tuple[int, ...]
) -> None:
    first, second = (said(way, name, places, asked) for way in ways)
    allowed = status if isinstance(status, tuple) else (status,)
    assert first[0] in allowed
    assert second[0] in allowed
    if not isinstance(status, tuple):
        assert first == second


def test_the_client_does_the_circle_over_grpc(server: Server, images: Path) -> None:
    some = sorted(map(str, images.rglob("*.png")))[:10]
    with Client(server.grpc_urls[0], pool="client") as client:
        assert client.push_data(some)["usable"] == 10
        chosen = client.query(budget=4)
        assert set(chosen) <= set(some)
        client.label({uri: Path(uri).parent.name for uri in chosen})
        assert client.status().labeled == 4
        assert client.receipt(client.select(2).id)["strategy"]
        job = client.push_data(some, asynchronous=True)
        assert not isinstance(job, dict)
        assert [view.state for view in job.progress()][-1] == "done"


def test_labels_name_samples_of_the_pool_and_no_others(ways: tuple[Http, Grpc], images: Path) -> None:
    uris, pool = sorted(map(str, images.rglob("*.png")))[:6], {"pool": "named"}
    ended(ways, said(ways[0], "Push", pool, {"uris": uris}))
    row = both(ways, "Select", pool, budget=1)["rows"][0]
    known = {"id": row["id"], "label": "dark"}
    for wrong in ("no-sample", uris[0] + "x", row["id"][:-1]):
        status, kind, text = both(ways, "Label", pool, labels=[known, {"id": wrong, "label": "dark"}])
        assert (status, kind) == (409, "LabelError")
        assert wrong in text
        assert "nothing was kept" in text
        assert both(ways, "Pool", pool)["labeled"] == 0
    assert said(ways[0], "Label", pool, {"labels": [known]})["labeled"] == 1
    pushed = {"id": uris[0] if row["uri"] != uris[0] else uris[1], "label": "dark"}
    assert said(ways[1], "Label", pool, {"labels": [pushed]})["labeled"] == 2


def test_uploaded_bytes_can_be_pushed(server: Server, images: Path) -> None:
    picture = next(images.rglob("*.png"))
    with Client(server.http_urls[0], pool="sent") as client:
        kept = client.upload(picture)
        assert client.push_data([kept.uri])["usable"] == 1
        assert client.query(budget=1) == [kept.uri]
        with pytest.raises(ServerError, match="not an image"):
            client.upload(b"no image")
        with pytest.raises(ServerError, match="never uploaded"):
            client.push_data(["upload://../../etc/passwd"])


def test_an_address_without_scheme_is_http_then_grpc(server: Server) -> None:
    for url in (server.http_urls[0], server.grpc_urls[0]):
        with Client(url.partition("://")[2], pool="any") as client:
            assert client.status().samples == 0
    with Client("127.0.0.1:9", timeout_s=5) as nobody, pytest.raises(ServerError, match="foresift serve"):
        nobody.status()


def test_health_and_reflection(server: Server) -> None:
    with grpc.insecure_channel(server.grpc_urls[0].partition("://")[2]) as channel:
        asked = health_pb2.HealthCheckRequest(service=SERVICE)
        assert health_pb2_grpc.HealthStub(channel).Check(asked, timeout=20).status == 1
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_both_doors_have_every_call(server: Server) -> None:
    names = [call.name for call in CALLS]
    assert names == [method.name for method in service().methods]
    assert set(ANSWERS) == set(names) - set(STREAMS)
    assert all(call_of(call.method, call.path.replace("{", "").replace("}", "")) is call for call in CALLS)


def test_messages_have_the_same_fields_in_both(server: Server) -> None:
    for call in CALLS:
        answers = {field.name for field in answer_type(call.name).DESCRIPTOR.fields}
        assert answers == set(call.answer.model_fields), call.name
        if call.name not in ("Upload", "Watch", "Cancel"):
            fields = {field.name for field in request_type(call.name).DESCRIPTOR.fields}
            assert fields == {*call.places, *call.asked.model_fields}, call.name


def test_the_descriptors_follow_from_the_proto_file() -> None:
    made = descriptor_pb2.FileDescriptorSet.FromString(compiling.compiled())
    kept = descriptor_pb2.FileDescriptorSet.FromString(compiling.DESCRIPTORS.read_bytes())
    assert made == kept, "run: python -m foresift.wire.compiling"


def test_every_refusal_has_a_code_of_grpc() -> None:
    from foresift.service.refusals import _STATUS

    assert {status for _, status in _STATUS} | {409, 500} <= set(GRPC_OF)
    assert all(hasattr(grpc.StatusCode, name) for name in GRPC_OF.values())
    assert len(set(GRPC_OF.values())) == len(GRPC_OF)


def test_whole_numbers_survive_a_struct() -> None:
    message = to_message(request_type("Train"), {"pool": "p", "model": "m", "recipe": {"epochs": 2, "lr": 0.5}})
    assert repr(to_plain(message)["recipe"]["epochs"]) == "2"  # 2.0 would be equal
