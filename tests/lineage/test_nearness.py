"""Repeats in time, and how far two pictures of a pool usually are apart."""

from __future__ import annotations

import numpy as np

from foresift.lineage.nearness import MEMORY, RecentFrames, calibrated_distance

RNG = np.random.default_rng(0)


def test_a_frame_repeats_the_nearest_kept_one_and_no_other() -> None:
    recent = RecentFrames(min_distance=0.01)
    a, b = RNG.standard_normal((2, 16)).astype(np.float32)
    assert recent.near(a) is None
    recent.keep("a", a)
    recent.keep("b", b)
    assert recent.near(3 * a) == "a"
    assert recent.near(b + 0.01) == "b"
    assert recent.near(RNG.standard_normal(16).astype(np.float32)) is None


def test_only_the_last_frames_are_remembered() -> None:
    recent = RecentFrames(min_distance=0.1)
    rows = np.eye(MEMORY + 1, dtype=np.float32)
    for at, row in enumerate(rows):
        recent.keep(str(at), row)
    assert recent.near(rows[0]) is None
    assert recent.near(rows[1]) == "1"


def test_a_frame_that_was_let_go_is_repeated_by_nothing() -> None:
    recent = RecentFrames(min_distance=0.1)
    rows = np.eye(3, dtype=np.float32)
    for at, row in enumerate(rows):
        recent.keep(str(at), row)
    recent.forget("1")
    recent.forget("absent")
    assert [recent.near(row) for row in rows] == ["0", None, "2"]


def test_zero_embeddings_repeat_nothing() -> None:
    recent = RecentFrames(min_distance=0.5)
    recent.keep("zero", np.zeros(4, dtype=np.float32))
    assert recent.near(np.zeros(4, dtype=np.float32)) is None


def test_pictures_of_the_pool_itself_are_hardly_ever_repeats() -> None:
    rows = RNG.standard_normal((800, 32)).astype(np.float32)
    distance = calibrated_distance(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    apart = 1 - unit @ unit.T + 9 * np.eye(800)
    assert 0 < distance < np.quantile(apart.min(axis=1), 0.01)
    noisy = unit + 0.001 * RNG.standard_normal(unit.shape)
    again = 1 - (noisy * unit).sum(axis=1) / np.linalg.norm(noisy, axis=1)
    assert (again < distance).all()
    assert calibrated_distance(rows[:1]) == 0
