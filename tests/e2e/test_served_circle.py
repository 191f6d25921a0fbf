"""A server process, whatever protocol and wherever the images lie: push, query, label, train, promote, and again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from commands import start
from foresift.client import Client, ServerError
from installed import installed_command
from s3_server import VARIABLE, S3Server
from web_server import WebServer

pytest.importorskip("obstore")
pytestmark = pytest.mark.timeout(300)

DIGITS, PER_DIGIT = "0147", 8
BUDGET = 10
Place = Literal["local", "http", "s3"]


@dataclass
class Circle:
    """A running server, the same pictures in three places, and what the first turn chose."""

    urls: dict[str, str]
    places: dict[Place, dict[str, str]]
    """Address by name of the picture, ``<digit>/<file>``."""
    chosen: list[list[str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def pictures(digit_files: Path) -> dict[str, Path]:
    files = [file for digit in DIGITS for file in sorted((digit_files / "test" / digit).iterdir())[:PER_DIGIT]]
    return {f"{file.parent.name}/{file.name}": file for file in files}


@pytest.fixture(scope="module")
def web(pictures: dict[str, Path]) -> Iterator[WebServer]:
    server = WebServer({name: file.read_bytes() for name, file in pictures.items()})
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def s3(pictures: dict[str, Path]) -> Iterator[S3Server]:
    server = S3Server(installed_command(VARIABLE, what="S3 server", target="s3"))
    server.put("digits")
    for name, file in pictures.items():
        server.put(f"digits/{name}", file.read_bytes())
    yield server
    server.stop()


@pytest.fixture(scope="module")
def circle(
    pictures: dict[str, Path], web: WebServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Circle]:
    folder = tmp_path_factory.mktemp("circle")
    root = next(iter(pictures.values())).parents[2]
    file = folder / "server.yml"
    file.write_text(
        "name: circle\nstrategy: margin\n"
        "model: {name: 'mlp:8', weights: random, image_size: 8, engine: torch-f32, batch_size: 16}\n"
        "server: {protocol: grpc, port: 0, http_port: 0}\nstorage: {home: home}\n"
        f"data: {{roots: ['{root}'], hosts: [127.0.0.1, 's3://digits'], allow_private: true}}\n"
    )
    bucket = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    with start("serve", file, home=folder, variables={**bucket, "AWS_ENDPOINT_URL": s3.url}) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        urls = {url.partition(":")[0]: url for url in re.findall(r"(?:http|grpc)://\S+?(?=,|\s|$)", line)}
        assert set(urls) == {"http", "grpc"}, line
        yield Circle(
            urls=urls,
            places={
                "local": {name: str(path) for name, path in pictures.items()},
                "http": {name: f"{web.url}/{name}" for name in pictures},
                "s3": {name: f"s3://digits/{name}" for name in pictures},
            },
        )
        process.terminate()
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("place", ["local", "http", "s3"])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_circle_is_closed(circle: Circle, protocol: str, place: Place) -> None:
    names = {address: name for name, address in circle.places[place].items()}
    with Client(circle.urls[protocol], pool=f"{protocol}-{place}") as client:
        assert client.push_data(list(names))["usable"] == len(names)
        first = client.select(BUDGET)
        labels = {row.uri: names[row.uri][0] for row in first.rows}
        assert client.label(labels, annotator="jo").labeled == BUDGET
        made = client.train("mlp:8", recipe={"epochs": 3}, seed=1).wait()["generation"]
        assert client.predict(made).wait()["usable"] == len(names)
        assert client.evaluate(made).wait()["metrics"]["n"] == BUDGET
        assert client.promote(made).in_use
        assert {one.state for one in client.predictions()} == {"ready"}
        second = client.select(BUDGET)
        assert second.model == made
        assert not {row.uri for row in second.rows} & set(labels)
        assert [one.id for one in client.selections()] == [first.id, second.id]
        assert [one.id for one in client.generations() if one.in_use] == [made]
        client.promote(str(first.model))  # as the next one finds it
    circle.chosen.append([names[row.uri] for row in (*first.rows, *second.rows)])
    assert circle.chosen[-1] == circle.chosen[0], "neither the protocol nor the place decides what is chosen"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_places_that_the_operator_did_not_name_are_refused(circle: Circle, protocol: str) -> None:
    with Client(circle.urls[protocol], pool="refused") as client:
        for address in ("/etc/hostname", "http://localhost/a.png", "s3://other/a.png"):
            with pytest.raises(ServerError, match=r"may (read|ask)"):
                client.push_data([address])
        assert client.status().samples == 0
