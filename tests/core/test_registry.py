from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import foresift.core.registry as module
from foresift.core.errors import UnknownNameError, UsageError
from foresift.core.registry import Registry, build, parse_spec


def registry() -> Registry[str]:
    made: Registry[str] = Registry("fruit", group="none.such")
    made.add("apple", "A", aliases=("Pomme", "Apfel"))
    made.add("pear", "P")
    return made


def test_names_and_aliases_lead_to_entries() -> None:
    fruits = registry()
    assert (fruits.get("apple"), fruits.get("Pomme"), fruits.canonical("Apfel")) == ("A", "A", "apple")
    assert fruits.names() == list(fruits) == ["apple", "pear"]
    assert fruits.aliases_of("apple") == ["Apfel", "Pomme"]
    assert "Pomme" in fruits
    assert "plum" not in fruits


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown fruit 'aple'; did you mean 'apple'\? \(known: Apfel, Pomme"):
        registry().get("aple")


@pytest.mark.parametrize(("name", "near"), [("pomm", "Pomme"), ("kiwi", None), ("banana", None), ("cherry", None)])
def test_only_a_near_name_is_suggested(name: str, near: str | None) -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry().get(name)
    assert f"; did you mean {near!r}?" in str(caught.value) if near else "did you mean" not in str(caught.value)


@pytest.mark.parametrize(("name", "near"), [("marg", "margin"), ("kcenter", "k-center"), ("badge", None)])
def test_a_shortened_or_run_together_name_is_near(name: str, near: str | None) -> None:
    text = str(UnknownNameError("strategy", name, ["entropy", "k-center", "least-confidence", "margin", "random"]))
    assert f"; did you mean {near!r}?" in text if near else "did you mean" not in text


@pytest.mark.parametrize(("name", "aliases"), [("apple", ()), ("Pomme", ()), ("fig", ("pear",)), ("fig", ("Apfel",))])
def test_a_name_is_registered_once(name: str, aliases: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="registered twice"):
        registry().add(name, "X", aliases=aliases)


class Points:
    """Stands in for installed entry points."""

    def __init__(self, **loads: Any) -> None:
        self.loads = loads

    def __call__(self, *, group: str) -> list[Any]:
        return [self._point(name, load) for name, load in self.loads.items()]

    @staticmethod
    def _point(name: str, load: Any) -> Any:
        point = type("Point", (), {"name": name, "load": staticmethod(load)})
        return point()


def test_entry_points_are_loaded_at_the_first_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "entry_points", Points(fig=lambda: "F"))
    assert registry().get("fig") == "F"


def test_a_plug_in_may_register_itself_by_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    fruits = registry()
    monkeypatch.setattr(module, "entry_points", Points(fig=lambda: fruits.register("fig")("F")))
    assert fruits.get("fig") == "F"


def test_a_plug_in_that_fails_fails_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("no figs")

    monkeypatch.setattr(module, "entry_points", Points(fig=broken))
    fruits = registry()
    for _ in range(2):
        with pytest.raises(ImportError, match="no figs"):
            fruits.get("apple")


def test_a_second_thread_waits_for_the_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    loading, found = threading.Event(), []

    def slow() -> str:
        loading.set()
        time.sleep(0.05)
        return "F"

    monkeypatch.setattr(module, "entry_points", Points(fig=slow))
    fruits = registry()
    first = threading.Thread(target=lambda: found.append(fruits.get("fig")))
    first.start()
    assert loading.wait(5)
    found.append(fruits.get("fig"))
    first.join()
    assert found == ["F", "F"]


def test_installed_entry_points_have_the_shape_that_is_loaded() -> None:
    assert EntryPoint(name="x", value="math:pi", group="g").load() == pytest.approx(3.14159, abs=1e-5)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    count: int
    share: float = 0.5
    name: str = "x"
    fast: bool = False
    limit: int | None = None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("recipe", ("recipe", {})),
        ("recipe:", ("recipe", {})),
        (" recipe:a=1, b-c = 2,", ("recipe", {"a": "1", "b_c": "2"})),
        ("recipe:a=b=c", ("recipe", {"a": "b=c"})),
    ],
)
def test_spellings_are_taken_apart(spec: str, expected: tuple[str, dict[str, str]]) -> None:
    assert parse_spec(spec) == expected


@pytest.mark.parametrize("spec", ["recipe:a", "recipe:=1", "recipe:a="])
def test_a_parameter_is_key_and_value(spec: str) -> None:
    with pytest.raises(UsageError, match="expected NAME or NAME:key=value"):
        parse_spec(spec)


def test_parameters_become_what_the_fields_are() -> None:
    given = {"count": "3", "share": "1e-3", "name": "y", "fast": "true", "limit": "none"}
    assert build(Recipe, given, spec="s") == Recipe(count=3, share=1e-3, name="y", fast=True, limit=None)
    assert build(Recipe, {"count": "3", "limit": "4"}, spec="s").limit == 4


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "'count' is required"),
        ({"count": "x"}, "count must be int, got 'x'"),
        ({"count": "1", "fast": "maybe"}, "fast must be bool"),
        ({"colour": "red"}, r"unknown parameter 'colour' \(takes: count, fast, limit, name, share\)"),
    ],
)
def test_wrong_parameters_are_named(given: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        build(Recipe, given, spec="s")
