"""What a model said of a pool, read back in parts; what was chosen from it, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foresift.client import Client, ServerError
from foresift.service.selections import SelectionLog
from foresift.service.server import Server
from foresift.stores.predictions import LanceStore
from foresift.wire.messages import PageRequest, SelectionSummary

pytestmark = pytest.mark.timeout(240)


def written(folder: Path, images: Path) -> Path:
    file = folder / "server.yml"
    file.write_text(
        "name: said\nstrategy: margin\nmodel: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        f"server: {{port: 0, http_port: 0}}\ndata: {{roots: ['{images}', '{folder}']}}\nstorage: {{home: home}}\n"
    )
    return file


@pytest.fixture(scope="module")
def configured(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("said"), images)


@pytest.fixture(scope="module")
def server(configured: Path) -> Iterator[Server]:
    with Server(config_path=configured) as started:
        yield started


@pytest.fixture
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(server.http_urls[0], pool=request.node.name[:90]) as connected:
        yield connected


def all_of(images: Path) -> list[str]:
    return sorted(map(str, images.rglob("*.png")))


def test_every_sample_has_what_its_logits_say(client: Client, images: Path) -> None:
    some = all_of(images)[3:17][::-1]
    client.push_data(some)
    found = list(client.predictions(score="margin", logits=True))
    assert [one.uri for one in found] == some
    for one in found:
        likely = np.exp(one.logits) / np.exp(one.logits).sum()
        first, second = np.sort(likely)[-1:-3:-1]
        assert one.probability == pytest.approx(first, rel=1e-5)
        assert one.predicted == str(np.argmax(one.logits))
        assert one.score == pytest.approx(1 - (first - second), abs=1e-5)
    by_score = sorted(found, key=lambda one: -(one.score or 0))
    assert client.query(budget=3) == [one.uri for one in by_score[:3]]
    assert all(one.logits == [] for one in client.predictions())


def test_pages_are_parts_of_the_whole(client: Client, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client.push_data(all_of(images)[:11])
    whole = list(client.predictions())
    monkeypatch.setattr("foresift.client.client.MOST_A_PAGE", 4)
    assert list(client.predictions()) == whole
    assert len(whole) == 11


def test_where_predictions_lie_is_read_once_for_all_pages(
    client: Client, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, read_index = [], LanceStore._read_index
    monkeypatch.setattr(LanceStore, "_read_index", lambda *given: read.append(given) or read_index(*given))
    monkeypatch.setattr("foresift.client.client.MOST_A_PAGE", 4)
    client.push_data(all_of(images)[:11])
    assert [one.state for one in client.predictions()] == ["ready"] * 11
    assert len(read) <= 1
    assert list(client.predictions()) == list(client.predictions())
    assert len(read) <= 1


def test_equal_bytes_and_broken_files_are_told_apart(client: Client, images: Path, configured: Path) -> None:
    first = Path(all_of(images)[0])
    twin, torn = configured.parent / "twin.png", configured.parent / "torn.png"
    twin.write_bytes(first.read_bytes())
    torn.write_bytes(first.read_bytes()[:40])
    client.push_data([first, twin, torn, configured.parent / "absent.png"])
    one, two, three, four = client.predictions()
    assert (one.state, two.state, three.state, four.state) == ("ready", "ready", "broken", "broken")
    assert (one.score, one.predicted) == (two.score, two.predicted)
    assert three.reason
    assert "no such file" in four.reason


def test_a_file_that_was_mended_is_seen_with_the_next_look(client: Client, images: Path, configured: Path) -> None:
    torn = configured.parent / "mended.png"
    torn.write_bytes(b"no image yet")
    client.push_data([all_of(images)[0], torn])
    assert [one.state for one in client.predictions()] == ["ready", "broken"]
    torn.write_bytes(Path(all_of(images)[1]).read_bytes())
    assert client.predict().wait()["usable"] == 2
    assert [one.state for one in client.predictions()] == ["ready", "ready"]


def test_reading_infers_nothing(server: Server, client: Client, images: Path) -> None:
    some = all_of(images)[::8]
    client.push_data(some)
    client.label({uri: Path(uri).parent.name for uri in some})
    made = client.train("mlp:8", recipe={"epochs": 1}).wait()["generation"]
    waiting = list(client.predictions(made))
    assert {one.state for one in waiting} == {"waiting"}
    assert client.predict(made).wait()["usable"] == 5
    seen = list(client.predictions(made))
    assert {one.state for one in seen} == {"ready"}
    assert {one.predicted for one in seen} <= {"dark", "light"}
    assert seen != list(client.predictions())
    measured = client.evaluate(made).wait()
    right = sum(one.predicted == Path(one.uri).parent.name for one in seen)
    assert measured["generation"] == made
    assert measured["metrics"]["top1"] == pytest.approx(right / 5)


def test_a_promotion_between_pages_does_not_change_the_list(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = all_of(images)[::8]
    with Server(config_path=written(tmp_path, images)) as server, Client(server.http_urls[0]) as client:
        client.push_data(some)
        client.label({uri: Path(uri).parent.name for uri in some})
        made = client.train("mlp:8", recipe={"epochs": 1}).wait()["generation"]
        whole = list(client.predictions())
        monkeypatch.setattr("foresift.client.client.MOST_A_PAGE", 2)
        pages = client.predictions()
        first = next(pages)
        assert client.promote(made).in_use
        assert [first, *pages] == whole
        assert {one.state for one in client.predictions()} == {"waiting"}


def test_what_was_never_looked_at_waits(server: Server, client: Client, images: Path) -> None:
    some = all_of(images)
    client.push_data(some[:4])
    server._application.pools.push(client.pool, some[34:36])  # as while a job waits
    states = [one.state for one in client.predictions()]
    assert states == ["ready"] * 4 + ["waiting"] * 2


def test_a_question_about_a_few_addresses_says_nothing_of_the_pass_over_the_pool(
    server: Server, client: Client, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some, noted = all_of(images), []
    client.push_data(some[:6])
    monkeypatch.setattr(server._application.said, "note", lambda pool, *_: noted.append(pool))
    client.query_by_uri(some[:3], budget=2)
    assert not noted
    client.query(budget=2)
    assert noted == [client.pool]


def test_a_score_that_needs_more_than_logits_is_refused(client: Client, images: Path) -> None:
    client.push_data(all_of(images)[:2])
    with pytest.raises(ServerError, match="needs members; expected one that needs logits alone"):
        next(client.predictions(score="bald"))


def test_selections_are_listed_in_the_order_in_which_they_were_made(client: Client, images: Path) -> None:
    client.push_data(all_of(images)[:9])
    made = [client.select(3), client.select(2, strategy="random", seed=4), client.select(3)]
    first, second = client.selections()
    assert [first.id, second.id] == [made[0].id, made[1].id]
    assert made[2].id == made[0].id  # the same question is the same selection
    assert (first.budget, first.chosen, first.strategy, first.model) == (3, 3, "margin", made[0].model)
    assert (second.strategy, second.seed, second.model) == ("random", 4, None)
    assert client.receipt(first.id)["budget"] == 3
    with Client(client.url, pool="nothing") as other:
        assert list(other.selections()) == []


def summary(number: int) -> SelectionSummary:
    return SelectionSummary(id=f"{number:040d}", strategy="margin", budget=1, seed=0, chosen=1, at="now")


def test_a_line_that_a_crash_cut_off_is_cut_away(tmp_path: Path) -> None:
    log = SelectionLog(tmp_path)
    for number in range(3):
        log.add("p", summary(number))
    file = tmp_path / "p.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    again = SelectionLog(tmp_path)
    assert [one.id for one in again.page("p", PageRequest()).items] == [summary(0).id, summary(1).id]
    again.add("p", summary(3))
    rows = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert rows == [summary(0).id, summary(1).id, summary(3).id]
    page = SelectionLog(tmp_path).page("p", PageRequest(limit=2))
    assert (len(page.items), page.next) == (2, "2")


def test_the_lists_survive_a_restart(images: Path, tmp_path: Path) -> None:
    file, some = written(tmp_path, images), all_of(images)[:6]
    with Server(config_path=file) as first, Client(first.http_urls[0]) as connected:
        connected.push_data(some)
        connected.query(budget=2)
        before = list(connected.predictions()), list(connected.selections())
    with Server(config_path=file) as second, Client(second.http_urls[0]) as connected:
        assert (list(connected.predictions()), list(connected.selections())) == before
