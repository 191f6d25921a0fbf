"""The study's main law on real digits, with its own models and seeds: what one model chooses helps another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from foresift.studies.surrogates.analysis import grid
from foresift.studies.surrogates.presets import PRESETS
from foresift.studies.surrogates.study import run

PAIRS, WINS = 20, 14
"""Pairs of different models, and how many of them must gain."""


def test_margin_by_a_surrogate_beats_random_for_other_models(tmp_path: Path) -> None:
    (whole,) = PRESETS["digits"]
    reduced = replace(whole, strategies=("margin",), pilots=0, probes=False, curves=False)
    study = run(tmp_path, [reduced], name="digits, margin")
    made = grid(study.tables[0], "margin")
    gains = [made.gain(pair) for pair in made.pairs()]
    assert len(gains) == PAIRS
    assert sum(gain > 0 for gain in gains) >= WINS
    assert sum(gains) > 0
