"""What a person types becomes what ranks pixels, and is named as typed again."""

from __future__ import annotations

import pytest

from foresift.app.pixels.auto import Situation, is_auto, judged
from foresift.app.pixels.strategies import as_typed, by_pixels
from foresift.core.errors import UsageError
from foresift.strategies import parse


@pytest.mark.parametrize(
    ("typed", "aggregate", "said"),
    [
        ("entropy", None, "entropy"),
        ("margin", "max", "margin --aggregate max"),
        ("ratio", "top-patches:patch=32,top=2", "ratio --aggregate top-patches:patch=32,top=2"),
        ("entropy:keep=20+k-center", None, "entropy:keep=20+k-center"),
        ("ua-dpp", "max", "ua-dpp --aggregate max"),
        ("margin:keep=50+ua-dpp", "max", "margin:keep=50+ua-dpp --aggregate max"),
        ("k-center", None, "k-center"),
    ],
)
def test_strategies_over_pixels_are_named_as_typed(typed: str, aggregate: str | None, said: str) -> None:
    assert as_typed(parse(by_pixels(typed, aggregate, classes=3))) == said


def test_parameters_travel() -> None:
    assert "gamma=1" in by_pixels("ua-dpp:gamma=1", None, classes=3)
    with pytest.raises(UsageError, match=r"--aggregate max:top=1|must be mean, max"):
        by_pixels("entropy", "max:top=1")
    with pytest.raises(UsageError, match="goes with a score of pixels"):
        by_pixels("k-center", "max")


@pytest.mark.parametrize(
    ("labeled", "images", "scored", "budget", "ran", "why"),
    [
        (0, 0.0, False, 10, "typiclust", "nothing is labeled yet"),
        (0, 0.0, True, 10, "typiclust", "nothing is labeled yet"),
        (0, 0.0, True, 800, "k-dpp", "more than 500"),
        (19, 19.9, True, 10, "typiclust", "fewer than 20"),
        (20, 20.0, True, 10, "margin", "the most uncertain ones"),
        (300, 20.0, True, 1_000, "ua-dpp", "uncertain and diverse"),
        (300, 20.0, False, 10, "typiclust", "only a segmentation model knows"),
    ],
)
def test_auto_waits_for_twenty_images(
    labeled: int, images: float, scored: bool, budget: int, ran: str, why: str
) -> None:
    verdict = judged("auto", Situation(labeled=labeled, images=images, scored=scored), budget=budget)
    assert verdict.ran == ran
    assert why in verdict.why


def test_auto_is_known_alone() -> None:
    assert is_auto("auto")
    assert is_auto("auto:large=5")
    assert not is_auto("margin:keep=5+auto")
    assert judged("auto:large=5", Situation(labeled=30, images=30, scored=True), budget=5).ran == "ua-dpp"
