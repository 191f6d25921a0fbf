"""Two segmentation models on the same images: the difference of their mIoU, and its interval."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from foresift.core.errors import DataError
from foresift.lineage.mask_promotion import MaskDuel, mask_duel, mean_iou

Counts = npt.NDArray[np.int64]
TRUE = np.array([60, 40])


def seen(*shares: float) -> Counts:
    """Images of two classes, of which a model gets these shares of both right."""
    rows = []
    for share in shares:
        right = np.round(share * TRUE).astype(np.int64)
        rows.append([right, TRUE, right + (TRUE - right)[::-1]])
    return np.array(rows, dtype=np.int64)


def drawn(n: int, share: float, *, seed: int, varied: float = 0.1) -> Counts:
    rng = np.random.default_rng(seed)
    return seen(*np.clip(rng.normal(share, varied, n), 0, 1))


def slow(challenger: Counts, holder: Counts) -> tuple[float, float, float]:
    """Difference and interval by the definition, image by image."""

    def miou(counts: Counts) -> float:
        right, true, predicted = counts.sum(axis=0)
        ious = [r / (t + p - r) for r, t, p in zip(right, true, predicted, strict=True) if t]
        return float(np.mean(ious))

    n = len(challenger)
    rows = np.arange(n)
    left_out = [miou(challenger[rows != at]) - miou(holder[rows != at]) for at in rows]
    error = np.sqrt((n - 1) / n * sum((one - np.mean(left_out)) ** 2 for one in left_out))
    found = miou(challenger) - miou(holder)
    worth = min(true.sum() ** 2 / (true**2).sum() for true in challenger[:, 1].T)
    margin = stats.t.ppf(0.975, worth - 1) * error
    return found, found - margin, found + margin


def facts(duel: MaskDuel) -> tuple[float, float, float]:
    return duel.difference, duel.low, duel.high


@pytest.mark.parametrize("seed", range(5))
def test_difference_and_interval_are_those_of_the_definition(seed: int) -> None:
    one, other = drawn(12, 0.8, seed=seed), drawn(12, 0.7, seed=100 + seed)
    one[:4, :, 1] = other[:4, :, 1] = 0  # a class that does not occur everywhere
    for large in (one, other):
        large[4:6] *= 2
    found, turned = mask_duel(one, other), mask_duel(other, one)
    assert facts(found) == pytest.approx(slow(one, other))
    assert (turned.low, turned.high) == (pytest.approx(-found.high), pytest.approx(-found.low))
    assert turned.p == pytest.approx(found.p)
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
    assert found.beats == (found.low > 0)


def test_of_equal_models_one_beats_the_other_no_more_often_than_the_level_says() -> None:
    beaten = sum(mask_duel(drawn(10, 0.7, seed=2 * k), drawn(10, 0.7, seed=2 * k + 1)).beats for k in range(400))
    assert beaten <= 20, "2.5 % of 400 are 10"


def with_cracks(pixels: Counts, cracks: list[float], *, seed: int) -> Counts:
    """Images of road and sky, of which a model gets about the same, and of cracks of (n,) pixels, by these shares."""
    rng = np.random.default_rng(seed)
    true = np.stack([np.full(len(pixels), 1_000), np.full(len(pixels), 500), pixels], axis=1)
    shares = np.column_stack([rng.normal(0.9, 0.01, len(pixels)), rng.normal(0.8, 0.01, len(pixels)), cracks])
    right = np.round(true * np.clip(shares, 0, 1)).astype(np.int64)
    wrong = true - right
    taken_for = np.stack([wrong[:, 1] + wrong[:, 2], wrong[:, 0], np.zeros_like(pixels)], axis=1)
    return np.stack([right, true, right + taken_for], axis=1)


@pytest.mark.parametrize(("showing", "varied"), [(2, 0.0), (3, 0.0), (8, 2.0)])
def test_a_class_in_few_images_or_mostly_in_one_makes_no_model_the_better_one(showing: int, varied: float) -> None:
    def even(seed: int) -> bool:
        rng = np.random.default_rng([showing, seed])
        pixels = np.zeros(50, dtype=np.int64)
        pixels[:showing] = 10 + 100 * np.exp(rng.normal(0, varied, showing))
        one, other = (with_cracks(pixels, list(rng.normal(0.5, 0.25, 50)), seed=rng.integers(2**32)) for _ in range(2))
        return mask_duel(one, other).beats

    assert sum(map(even, range(400))) <= 20, "2.5 % of 400 are 10"


def test_two_images_of_a_class_decide_nothing_however_many_others_there_are() -> None:
    pixels = np.zeros(100, dtype=np.int64)
    pixels[:2] = 100
    none = [0.0] * 98
    one, other = (with_cracks(pixels, [*cracks, *none], seed=0) for cracks in ([0.6, 0.62], [0.4, 0.4]))
    found = mask_duel(one, other)
    assert (found.rarest, found.showing, found.degrees, found.beats) == (2, 2, pytest.approx(1), False)
    assert found.p > 0.01


def test_a_class_in_six_images_decides_and_one_that_both_models_miss_does_not_count() -> None:
    pixels = np.zeros(100, dtype=np.int64)
    pixels[:6] = 100
    good, poor = [0.6, 0.65, 0.7, 0.55, 0.6, 0.7], [0.4, 0.45, 0.4, 0.4, 0.35, 0.4]
    one, other = (with_cracks(pixels, [*cracks, *[0.0] * 94], seed=0) for cracks in (good, poor))
    found = mask_duel(one, other)
    assert (found.rarest, found.showing, found.beats) == (2, 6, True)
    missed = np.zeros((100, 3, 1), dtype=np.int64)
    missed[:2, 1] = 30
    wide = [np.concatenate([counts, missed], axis=2) for counts in (one, other)]
    assert (mask_duel(*wide).showing, mask_duel(*wide).beats) == (6, True)


def test_the_difference_is_paired() -> None:
    base = drawn(20, 0.6, seed=1, varied=0.2)
    better = base.copy()
    better[:, 0] += (TRUE - base[:, 0]) // 5
    better[:, 2] = better[:, 0] + (TRUE - better[:, 0])[:, ::-1]
    paired, other = mask_duel(better, base), mask_duel(better[::-1], base)
    assert paired.beats, "a little better on every image, however different these are"
    assert other.difference == paired.difference
    assert not other.beats, "the same figures of other images say nothing"


def test_five_images_decide_nothing_and_six_do() -> None:
    assert not mask_duel(seen(*[0.9] * 5), seen(*[0.5] * 5)).beats
    assert mask_duel(seen(*[0.9] * 6), seen(*[0.5] * 6)).beats
    same = mask_duel(seen(*[0.9] * 6), seen(*[0.9] * 6))
    assert (same.beats, same.p, facts(same)) == (False, 1.0, (0.0, 0.0, 0.0))


def test_classes_that_do_not_occur_are_left_out_of_the_mean() -> None:
    counts = np.array([[30, 0, 20], [40, 0, 20], [50, 10, 40]])
    assert mean_iou(counts) == pytest.approx((30 / 60 + 20 / 40) / 2)


def test_there_must_be_images_to_compare() -> None:
    with pytest.raises(DataError, match="the same images"):
        mask_duel(seen(0.5, 0.5), seen(0.5))
    with pytest.raises(DataError, match="1 image says nothing"):
        mask_duel(seen(0.5), seen(0.6))
