from __future__ import annotations

import stat
from pathlib import Path

import pytest

from commands import command
from foresift.core.errors import StoreError, UsageError
from foresift.service.access import Access, Rates
from foresift.service.allowed import ForbiddenError
from foresift.service.refusals import TooManyError, UnauthorizedError
from foresift.service.tokens import TokenFile
from foresift.wire.calls import SCOPES
from foresift.wire.config import parse_settings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_file_holds_no_token_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    token, text = file.create("ci", ["read"])
    kept = file.path.read_text()
    assert text.rpartition("_")[2] not in kept
    assert text.split("_", 2)[2] not in kept
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.find(text) == token


def test_two_tokens_never_are_the_same(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    texts = {file.create(f"t{number}", ["read"])[1] for number in range(20)}
    assert len(texts) == 20


def test_a_revoked_token_is_worthless_at_once_for_readers_elsewhere(tmp_path: Path) -> None:
    file, elsewhere = TokenFile(tmp_path / "tokens.json"), TokenFile(tmp_path / "tokens.json")
    _, text = file.create("ci", ["read"])
    assert elsewhere.find(text) is not None
    file.revoke("ci")
    assert elsewhere.find(text) is None
    assert elsewhere.find(file.create("ci", ["run"])[1]) is not None


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1] + "~", lambda t: t[:-1], lambda t: t + "x", lambda t: "", str.upper]
)
def test_what_is_nearly_a_token_is_none(change: object, tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    _, text = file.create("ci", ["read"])
    assert callable(change)
    assert file.find(change(text)) is None


def test_scopes_include_what_they_say(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    made = {name: file.create(name, [name])[0] for name in SCOPES}
    allowed = {name: {scope for scope in SCOPES if token.allows(scope)} for name, token in made.items()}
    assert allowed == {
        "read": {"read"},
        "label": {"read", "label"},
        "run": {"read", "run"},
        "admin": set(SCOPES),
    }


def test_what_can_not_be_made_is_told(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    with pytest.raises(UsageError, match="unknown scope"):
        file.create("x", ["write"])
    file.create("x", ["read"])
    with pytest.raises(UsageError, match="already"):
        file.create("x", ["read"])
    with pytest.raises(UsageError, match="no token"):
        file.revoke("y")


@pytest.mark.parametrize("text", ["{}", "[]", '{"tokens": [{"id": 1}]}', "no json"])
def test_a_file_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text(text)
    with pytest.raises(StoreError):
        TokenFile(tmp_path / "tokens.json").all()


def test_the_door_asks_for_token_and_scope(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    _, text = file.create("reader", ["read"])
    access = Access(tokens=file, token="master", requests_a_minute=100)
    assert access.admit(f"Bearer {text}", "here", "read").name == "reader"
    assert access.admit("bearer master", "here", "admin").id == "configured"
    with pytest.raises(ForbiddenError, match="lacks the scope run"):
        access.admit(f"Bearer {text}", "here", "run")
    for wrong in ("", "Bearer", "Bearer x", f"Basic {text}", f"Bearer {text}x", "Bearer \xff"):
        with pytest.raises(UnauthorizedError):
            access.admit(wrong, "here", "read")


def test_rates_are_each_tokens_own_and_fill_up_again(tmp_path: Path) -> None:
    clock = Clock()
    file = TokenFile(tmp_path / "tokens.json")
    texts = [file.create("slow", ["read"], requests_a_minute=2)[1], file.create("other", ["read"])[1]]
    access = Access(tokens=file, requests_a_minute=60, clock=clock)

    def ask(which: int) -> None:
        access.admit(f"Bearer {texts[which]}", "here", "read")

    ask(0)
    ask(0)
    with pytest.raises(TooManyError, match="2 requests a minute"):
        ask(0)
    ask(1)
    clock.now = 31.0
    ask(0)
    with pytest.raises(TooManyError):
        ask(0)


def test_guessing_is_slowed_down() -> None:
    access = Access(token="master", requests_a_minute=3, clock=Clock())
    for _ in range(3):
        with pytest.raises(UnauthorizedError):
            access.admit("Bearer guess", "there", "read")
    with pytest.raises(TooManyError):
        access.admit("Bearer guess", "there", "read")
    access.admit("Bearer master", "there", "read")


def test_rates_forget_those_not_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foresift.service.access.MOST_REMEMBERED", 10)
    rates = Rates(Clock())
    for number in range(50):
        rates.take(str(number), 5)
    assert len(rates._left) == 10


def test_a_configured_file_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.json"):
        Access.of(parse_settings({"auth": {"tokens": "none.json"}}), tmp_path)


def test_the_commands_make_list_and_revoke(tmp_path: Path) -> None:
    at = ("--file", tmp_path / "tokens.json")
    made = command("token", "create", "ci", "--scope", "run", "--scope", "label", *at, home=tmp_path)
    assert made.code == 0
    assert TokenFile(tmp_path / "tokens.json").find(made.out.strip()) is not None
    listed = command("token", "list", *at, "--json", home=tmp_path).json["tokens"]
    assert [(row["name"], row["scopes"]) for row in listed] == [("ci", ["label", "run"])]
    assert "sha256" not in listed[0]
    assert command("token", "revoke", "ci", *at, home=tmp_path).code == 0
    assert TokenFile(tmp_path / "tokens.json").find(made.out.strip()) is None
    assert command("token", "create", "x", "--scope", "all", *at, home=tmp_path).code == 2
