from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import ModelError, UsageError
from foresift.core.masks import IGNORED, Mask, within
from foresift.core.regions import Region
from foresift.core.segmentation import DenseTransform
from foresift.training.masked_images import MaskedImages, Pair
from foresift.training.segmentation import class_weights, evaluate_segmenter, train_segmenter
from foresift.training.segmentation_metrics import confusion
from foresift.training.segmentation_objectives import segmentation_loss
from foresift.training.segmentation_recipe import SegmentationRecipe
from foresift.training.supervised import TrainResult

RECIPE = SegmentationRecipe(epochs=3, batch_size=2, lr=0.1, precision="32")
PIXELS = (10, 10, 10)


def tiny(classes: int = 3) -> nn.Module:
    """Three layers, one of them batch norm: enough to learn a colour, and to notice what it should not see."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, classes, 3, padding=1)
        )


def coloured(count: int = 5, *, height: int = 12, width: int = 16) -> list[Pair]:
    """Images whose class is the channel that is lightest, in three upright stripes."""
    rng = np.random.default_rng(0)
    pairs = []
    for row in range(count):
        mask = ((np.arange(width) // 6 + row) % 3).astype(np.int16) * np.ones((height, 1), dtype=np.int16)
        pixels = rng.integers(0, 40, size=(height, width, 3), dtype=np.uint8)
        for channel in range(3):
            pixels[..., channel][mask == channel] += 200
        pairs.append((pixels, mask))
    return pairs


def as_images(pairs: list[Pair], **options: Any) -> MaskedImages:
    return MaskedImages(lambda row: pairs[row], len(pairs), DenseTransform(), **options)


def finish(pairs: list[Pair], folder: Path, **changes: Any) -> tuple[dict[str, Tensor], TrainResult]:
    network = tiny()
    arguments: dict[str, Any] = {"recipe": RECIPE, "seed": 1, "folder": folder, "pixels": PIXELS}
    result = train_segmenter(network, as_images(pairs), **arguments | changes)
    return {name: value.clone() for name, value in network.state_dict().items()}, result


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns(tmp_path: Path) -> None:
    recipe = SegmentationRecipe(epochs=12, batch_size=2, lr=0.1, precision="32")
    _, result = finish(coloured(), tmp_path, recipe=recipe, val=as_images(coloured(2)))
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"] / 2
    assert result.metrics["val_miou"] > 0.9
    assert set(result.metrics) == {
        f"{part}_{name}" for part in ("train", "val") for name in ("loss", "miou", "pixel_accuracy")
    }


def test_no_gradient_reaches_an_unlabeled_pixel() -> None:
    logits = torch.randn(2, 3, 6, 8, requires_grad=True)
    whole = np.random.default_rng(0).integers(0, 3, size=(2, 6, 8)).astype(np.int16)
    partial = np.stack([within(mask, [Region(2, 1, 3, 2), Region(6, 4, 2, 2)]) for mask in whole])
    loss = segmentation_loss(logits, torch.from_numpy(partial).long(), torch.ones(3))
    (gradient,) = torch.autograd.grad(loss, logits)
    labeled = torch.from_numpy(partial != IGNORED)
    assert (gradient.movedim(1, -1)[~labeled] == 0).all()
    assert (gradient.movedim(1, -1)[labeled] != 0).any(dim=1).all()


def test_a_partial_mask_trains_the_same_whatever_lies_under_the_unlabeled_pixels(tmp_path: Path) -> None:
    regions = [Region(1, 2, 7, 4)]
    rng = np.random.default_rng(1)

    def partly(change: Callable[[Mask], Mask]) -> list[Pair]:
        return [(pixels, within(change(mask), regions)) for pixels, mask in coloured()]

    def garbled(mask: Mask) -> Mask:
        wrong = rng.integers(0, 3, size=mask.shape).astype(np.int16)
        wrong[2:6, 1:8] = mask[2:6, 1:8]
        return wrong

    true, _ = finish(partly(lambda mask: mask), tmp_path / "true")
    false, _ = finish(partly(garbled), tmp_path / "false")
    whole, _ = finish(coloured(), tmp_path / "whole")
    assert equal(true, false)
    assert not equal(true, whole)


def test_the_network_sees_the_whole_image_of_a_partial_mask(tmp_path: Path) -> None:
    seen: list[torch.Size] = []
    network = tiny()
    network.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0].shape[2:]))
    pairs = [(pixels, within(mask, [Region(0, 0, 2, 2)])) for pixels, mask in coloured()]
    train_segmenter(network, as_images(pairs), pixels=PIXELS, recipe=RECIPE, seed=1, folder=tmp_path)
    assert set(seen) == {torch.Size((12, 16))}


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 2.0, 8.0)])
def test_the_loss_is_the_weighed_mean_over_labeled_pixels(weights: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    codes = torch.randint(-1, 3, (2, 4, 5), generator=generator)
    total = mass = 0.0
    for image, row, column in np.ndindex(2, 4, 5):
        code = int(codes[image, row, column])
        if code != IGNORED:
            at = logits[image, :, row, column]
            total += weights[code] * float(torch.logsumexp(at, 0) - at[code])
            mass += weights[code]
    found = segmentation_loss(logits, codes, torch.tensor(weights, dtype=torch.float64))
    assert float(found) == pytest.approx(total / mass)


def test_without_a_labeled_pixel_the_loss_is_zero_and_so_is_its_gradient() -> None:
    logits = torch.randn(1, 3, 4, 5, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 4, 5), IGNORED), torch.ones(3))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == 0
    assert (gradient == 0).all()


def test_balanced_classes_weigh_the_same_together() -> None:
    pixels = (900, 90, 0, 10)
    weights = class_weights("balanced", pixels)
    mass = weights * torch.tensor(pixels)
    assert torch.allclose(mass[[0, 1, 3]], torch.tensor(1000 / 3))
    assert float(mass.sum()) == pytest.approx(1000)
    assert torch.isfinite(weights).all()
    assert (class_weights("none", pixels) == 1).all()


class StoppedError(RuntimeError):
    """The run was interrupted."""


class StopsAfter:
    """A progress that interrupts the run when so many epochs are done."""

    def __init__(self, epochs: int) -> None:
        self._left = epochs

    def start(self, task: str, total: int) -> None:
        pass

    def advance(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise StoppedError

    def done(self, summary: str = "") -> None:
        pass


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, _ = finish(coloured(), tmp_path / "whole")
    with pytest.raises(StoppedError):
        finish(coloured(), tmp_path / "cut", progress=StopsAfter(2))
    resumed, result = finish(coloured(), tmp_path / "cut")
    assert result.resumed_from == 2
    assert equal(whole, resumed)
    assert finish(coloured(), tmp_path / "cut")[1].resumed_from == 3


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": SegmentationRecipe(**RECIPE.to_dict() | {"class_weights": "balanced"})},
        {"seed": 2},
        {"pixels": (1, 2, 3)},
    ],
)
def test_another_run_is_not_continued(tmp_path: Path, change: dict[str, Any]) -> None:
    finish(coloured(), tmp_path)
    assert finish(coloured(), tmp_path, **change)[1].resumed_from == 0


@pytest.mark.parametrize("cache_bytes", [0, 1000, 1 << 20])
def test_results_depend_on_the_seed_only(tmp_path: Path, cache_bytes: int) -> None:
    whole, _ = finish(coloured(), tmp_path / "one")
    torch.manual_seed(99)
    network = tiny()
    images = as_images(coloured(), cache_bytes=cache_bytes)
    train_segmenter(network, images, pixels=PIXELS, recipe=RECIPE, seed=1, folder=tmp_path / "two", val=images)
    assert equal(whole, dict(network.state_dict()))
    assert not equal(whole, finish(coloured(), tmp_path / "three", seed=2)[0])


def test_images_of_many_sizes_train_together(tmp_path: Path) -> None:
    pairs = [*coloured(2), *coloured(2, height=5, width=40), *coloured(1, height=20, width=7)]
    for crop in (None, (8, 8), (64, 64)):
        recipe = SegmentationRecipe(epochs=1, batch_size=2, crop=crop)
        finish(pairs, tmp_path / str(crop), recipe=recipe, val=as_images(pairs))


def test_what_can_t_be_trained_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no labeled pixel"):
        finish([], tmp_path)
    with pytest.raises(UsageError, match="no labeled pixel"):
        finish(coloured(), tmp_path, pixels=(0, 0, 0))
    with pytest.raises(ModelError, match="expected logits of"):
        finish(coloured(), tmp_path, pixels=(1, 1))
    with pytest.raises(ModelError, match="no longer finite"):
        finish(coloured(), tmp_path, recipe=SegmentationRecipe(epochs=2, lr=1e30, precision="32"))


def test_a_class_without_pixels_is_noted(tmp_path: Path) -> None:
    assert "codes 1" in finish(coloured(), tmp_path, pixels=(5, 0, 5))[1].notes[0]


def test_evaluation_is_at_the_masks_own_size_whatever_fits_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    images, network = as_images(coloured(3)), tiny().eval()
    truth = [np.kron(mask, np.ones((3, 2), dtype=np.int16)) for _, mask in coloured(3)]
    truth[0][:4] = IGNORED
    counts = evaluate_segmenter(network, images, lambda row: truth[row], classes=3)
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for row, (pixels, _) in enumerate(coloured(3)):
        transform = images.transform
        normal = (torch.from_numpy(pixels) / 255 - torch.tensor(transform.mean)) / torch.tensor(transform.std)
        with torch.inference_mode():
            logits = network(normal.permute(2, 0, 1)[None])
            best = functional.interpolate(logits, size=truth[row].shape, mode="bilinear")[0].argmax(0)
        expected += confusion(best, torch.from_numpy(truth[row]).long(), classes=3)
    np.testing.assert_array_equal(counts, expected.numpy())
    assert counts.sum() == sum(int((one != IGNORED).sum()) for one in truth)
    monkeypatch.setattr("foresift.training.segmentation.RESIZED_VALUES", 1)
    np.testing.assert_array_equal(evaluate_segmenter(network, images, lambda row: truth[row], classes=3), counts)
