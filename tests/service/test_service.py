"""A real server on a free port of the loopback interface, and a real client."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import foresift
from foresift.client import Client, ServerError
from foresift.core.errors import UsageError
from foresift.service.server import Server
from foresift.wire.messages import LabelsView

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    file = folder / "server.yml"
    file.write_text(
        "name: pictures\nstrategy: margin\nmodel: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        f"server: {{port: 0, http_port: 0}}\ndata: {{roots: ['{images}']}}\nstorage: {{home: home}}\n"
    )
    with Server(config_path=file) as started:
        yield started


@pytest.fixture
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(server.http_urls[0], pool=re.sub(r"\W", "-", request.node.name)) as connected:
        yield connected


def written(folder: Path, images: Path, *lines: str) -> Path:
    """A configuration on a free port, with these lines besides."""
    file = folder / "server.yml"
    common = ["server: {port: 0, http_port: 0}", f"data: {{roots: ['{images}']}}", "storage: {home: home}"]
    file.write_text("\n".join([*common, *lines]) + "\n")
    return file


def all_of(images: Path) -> list[str]:
    return sorted(map(str, images.rglob("*.png")))


def test_three_lines_lead_to_a_selection(client: Client, images: Path) -> None:
    answer = client.push_data(all_of(images), asynchronous=False)
    selected = client.query(budget=10)
    assert isinstance(answer, dict)
    assert (answer["new"], answer["usable"]) == (40, 40)
    assert len(set(selected)) == 10
    assert set(selected) <= set(all_of(images))


def test_a_query_over_given_addresses_stays_among_them_and_in_rank_order(client: Client, images: Path) -> None:
    some = all_of(images)[:12]
    chosen = client.query_by_uri(some, budget=5)
    whole = client.select(5, uris=some)
    assert chosen == [row.uri for row in whole.rows]
    assert set(chosen) <= set(some)
    scores = [row.score for row in whole.rows]
    assert scores == sorted(scores, reverse=True)


def test_random_weights_are_marked(client: Client, images: Path) -> None:
    client.push_data(all_of(images)[:8])
    view = client.select(2)
    assert view.untrained
    assert any("random" in note for note in view.notes)


def test_pushing_in_the_background_gives_a_job_and_pushing_twice_costs_nothing(client: Client, images: Path) -> None:
    job = client.push_data(all_of(images)[:6], asynchronous=True)
    assert not isinstance(job, dict)
    assert job.wait(timeout_s=120)["new"] == 6
    assert client.push_data(all_of(images)[:6])["new"] == 0


def test_pushes_that_wait_share_the_next_look(
    server: Server, client: Client, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy, looks = server._application.heavy, []
    look = heavy.look
    monkeypatch.setattr(heavy, "look", lambda *given: looks.append(given) or look(*given))
    with heavy.turn:  # as while something else runs
        jobs = [client.push_data([uri], asynchronous=True) for uri in all_of(images)[:6]]
    answers = [job.wait() for job in jobs if not isinstance(job, dict)]
    assert [(answer["new"], answer["usable"]) for answer in answers] == [(1, 6)] * 6
    assert len(looks) == 1
    client.push_data(all_of(images)[:6])
    assert len(looks) == 2, "who pushes later asks for a look of their own"


def test_the_whole_circle(client: Client, images: Path) -> None:
    client.push_data(all_of(images))
    chosen = client.query(budget=20, strategy="random", seed=1)
    added = client.label({uri: Path(uri).parent.name for uri in chosen})
    assert (added.new, added.labeled) == (20, 20)
    assert client.label({uri: Path(uri).parent.name for uri in chosen}).repeated == 20
    assert not set(client.query(budget=20)) & set(chosen)
    job = client.train("mlp:8", recipe={"epochs": 2})
    generation = job.wait(timeout_s=200)["generation"]
    assert client.promote(generation).in_use
    assert not client.select(3).untrained


@pytest.mark.parametrize(
    "outside", ["/etc/passwd", "file:///etc/passwd", "../../etc/passwd", "http://example.org/a.png"]
)
def test_addresses_outside_are_refused_and_nothing_is_taken(client: Client, images: Path, outside: str) -> None:
    with pytest.raises(ServerError, match=r"data\.roots|data\.hosts") as error:
        client.push_data([*all_of(images)[:3], outside])
    assert error.value.status == 403
    assert client.status().samples == 0


def test_a_link_that_leads_out_is_refused(client: Client, images: Path, tmp_path: Path) -> None:
    secret, link = tmp_path / "secret.png", images / "link.png"
    secret.write_bytes(b"x")
    link.symlink_to(secret)
    try:
        with pytest.raises(ServerError, match=r"data\.roots"):
            client.push_data([str(link)])
    finally:
        link.unlink()


def test_labels_of_samples_never_pushed_are_refused_whole(client: Client, images: Path) -> None:
    client.push_data(all_of(images)[:2])
    with pytest.raises(ServerError, match="never pushed"):
        client.label({all_of(images)[0]: "dark", all_of(images)[9]: "dark"})
    assert client.status().labeled == 0


def test_an_answer_by_id_is_corrected_by_one_by_address(client: Client, images: Path) -> None:
    client.push_data(all_of(images)[:6])
    row, other = client.select(2).rows
    client._ask("Label", LabelsView, {"labels": [{"id": row.id, "label": "dark"}]})
    assert client.label({row.uri: "light", other.uri: "dark"}).labeled == 2
    assert {one.id: one.label for one in client.labels()} == {row.uri: "light", other.uri: "dark"}
    client.train("mlp:8", recipe={"epochs": 1}).wait(timeout_s=200)


def test_what_is_missing_is_said(client: Client) -> None:
    with pytest.raises(ServerError, match="empty; push samples first"):
        client.query(budget=3)
    with pytest.raises(ServerError, match="no labels yet"):
        client.train("mlp:8")


def test_malformed_requests_get_one_line(server: Server) -> None:
    url = f"{server.http_urls[0]}/v1/pools/p/selections"
    for body in (b"{", b"[]", b'{"budget": 0}', b'{"budget": 3, "strateggy": "x"}'):
        request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"}, method="POST")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=20)
        with error.value:
            problem = json.loads(error.value.read())
        assert error.value.code == 422
        assert set(problem) == {"error", "detail"}


def test_a_token_is_asked_for_where_one_is_configured(images: Path, tmp_path: Path) -> None:
    file = written(tmp_path, images, "auth: {token: secret}")
    with Server(config_path=file) as started:
        with Client(started.http_urls[0]) as bare, pytest.raises(ServerError, match="token"):
            bare.status()
        with Client(started.http_urls[0], token="secret") as known:
            assert known.status().samples == 0


def test_without_a_token_nothing_off_loopback_is_bound(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "server.yml"
    file.write_text(
        f"server: {{host: 0.0.0.0, port: 0, http_port: 0}}\ndata: {{roots: ['{images}']}}\nstorage: {{home: h}}\n"
    )
    with Server(config_path=file) as started:
        assert started.http_urls[0].startswith("http://127.0.0.1:")
        assert "no token is configured" in started.notes[0]


def test_weights_that_can_not_be_had_are_told_with_the_remedy(images: Path, tmp_path: Path) -> None:
    file = written(tmp_path, images, "model: {name: resnet8}")
    with (
        Server(config_path=file) as started,
        Client(started.http_urls[0]) as connected,
        pytest.raises(ServerError, match="weights: random"),
    ):
        connected.push_data(all_of(images)[:2])


def test_a_restarted_server_remembers(images: Path, tmp_path: Path) -> None:
    file = written(tmp_path, images, "model: {name: 'mlp:8', weights: random, image_size: 16}", "strategy: margin")
    some = all_of(images)[:10]
    with Server(config_path=file) as first, Client(first.http_urls[0]) as connected:
        connected.push_data(some)
        connected.label({some[0]: "dark"})
        before = connected.query(budget=4)
    with Server(config_path=file) as second, Client(second.http_urls[0]) as connected:
        assert (connected.status().samples, connected.status().labeled) == (10, 1)
        assert connected.query(budget=4) == before


def test_a_connection_rests_here_longer_than_its_client_keeps_it(server: Server) -> None:
    (listening, _), *_ = server._listening
    assert listening.config.timeout_keep_alive > 2 * (httpx.Limits().keepalive_expiry or 0) > 0


def test_a_taken_port_is_told(server: Server, tmp_path: Path) -> None:
    port = int(server.http_urls[0].rpartition(":")[2])
    file = tmp_path / "server.yml"
    file.write_text(f"server: {{port: {port}, http_port: {port}}}\nstorage: {{home: home}}\n")
    with pytest.raises(UsageError, match="free it or name another port"):
        Server(config_path=file).start()


def test_both_names_are_public() -> None:
    assert foresift.Server is Server
    assert foresift.Client is Client
