from __future__ import annotations

import socket
from pathlib import Path

from commands import command
from foresift.service.checks import examine_deployment
from foresift.service.tokens import TokenFile


def bad(tmp_path: Path, text: str) -> set[str]:
    file = tmp_path / "server.yml"
    file.write_text(f"{text}\nstorage: {{home: home}}\n")
    return {one.what for one in examine_deployment(file) if not one.fine}


def test_a_deployment_that_would_do(tmp_path: Path) -> None:
    TokenFile(tmp_path / "tokens.json").create("ci", ["run"])
    (tmp_path / "images").mkdir()
    text = "server: {protocol: grpc, port: 0, http_port: 0}\ndata: {roots: [images]}\nauth: {tokens: tokens.json}"
    assert bad(tmp_path, text) == set()


def test_everything_that_is_wrong_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = (
            f"server: {{port: {port}, tls_certificate: cert.pem, tls_key: key.pem}}\nstrategy: margn\n"
            "data: {roots: [none]}\nauth: {tokens: none.json}"
        )
        assert bad(tmp_path, text) == {"strategy", "root", "tokens", "TLS", "port of HTTP"}


def test_tokens_that_others_can_read_or_that_are_all_revoked(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    file.create("ci", ["run"])
    text = "server: {port: 0}\nauth: {tokens: tokens.json}"
    file.path.chmod(0o644)
    assert bad(tmp_path, text) == {"tokens"}
    file.path.chmod(0o600)
    assert bad(tmp_path, text) == set()
    file.revoke("ci")
    assert bad(tmp_path, text) == {"tokens"}


def test_the_command_tells_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "server.yml"
    file.write_text("server: {port: 0}\ndata: {roots: [none]}\nstorage: {home: home}\n")
    answer = command("doctor", "--config", file, home=tmp_path / "home")
    assert answer.code == 1
    assert "BAD  root:" in answer.out
