"""What ``auto`` runs where people label masks: diverse samples first, then those whose pixels are uncertain."""

from __future__ import annotations

from dataclasses import dataclass

from foresift.core.registry import parse_spec
from foresift.selection.registry import STRATEGIES, parse, split_stages
from foresift.strategies.auto import DPP_PICKS, Auto, first_choice

LABELED_IMAGES = 20
"""Labeled images, or as many pixels in patches, before uncertainty is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What runs, and why."""

    ran: str
    why: str
    uncertain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the rule looks at."""

    labeled: int
    """Images or patches."""
    images: float
    """The labeled pixels over those of the mean image."""
    scored: bool
    """Whether a segmentation model says where it is unsure."""


def is_auto(spec: str) -> bool:
    """Whether the strategy is ``auto``, alone."""
    name = parse_spec(split_stages(spec)[0])[0]
    return len(split_stages(spec)) == 1 and name in STRATEGIES and STRATEGIES.canonical(name) == Auto.name


def judged(spec: str, now: Situation, *, budget: int) -> Verdict:
    """What runs now: ``typiclust`` or ``k-dpp`` at first, ``margin`` or ``ua-dpp`` later.

    The switch comes when 20 images, or patches of as many pixels, are labeled. Masks have no class an image, so the
    rule that :class:`foresift.strategies.auto.Auto` goes by can't be asked.
    """
    enough = now.images >= LABELED_IMAGES
    have = f"{now.images:.3g} images' worth of pixels are labeled" if now.labeled else "nothing is labeled yet"
    if enough and now.scored:
        strategy = parse(spec)
        assert isinstance(strategy, Auto)  # noqa: S101 - is_auto
        many = strategy.large <= budget <= DPP_PICKS
        reason = f"{strategy.large} picks or more: uncertain and diverse ones" if many else "the most uncertain ones"
        return Verdict(ran="ua-dpp" if many else "margin", why=f"{have}; {reason}", uncertain=True)
    chosen, reason = first_choice(now.labeled, budget)
    short = f", fewer than {LABELED_IMAGES}" if now.labeled and not enough else ""
    blind = ", but only a segmentation model knows where it is unsure" if enough else ""
    return Verdict(ran=chosen.name, why=f"{have}{short}{blind}; {reason}", uncertain=False)
