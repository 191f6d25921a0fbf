"""Random views: repeatable, within range, and blind to nothing that they should keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foresift.training.views import PRESETS, two_views


def pixels(n: int = 6, size: int = 64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [16, 64])
def test_two_different_views_within_range(preset: str, size: int) -> None:
    first, second = two_views(pixels(size=size), preset=preset, seed=(1, 2, 3))
    assert first.shape == second.shape == (6, 3, size, size)
    assert not torch.equal(first, second)
    for view in (first, second):
        assert view.dtype == torch.float32
        assert 0 <= float(view.min()) <= float(view.max()) <= 1


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_seed_gives_the_same_views(preset: str) -> None:
    one, two = (two_views(pixels(), preset=preset, seed=(1, 2, 3)) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], two_views(pixels(), preset=preset, seed=(1, 2, 4))[0])


def test_the_grey_preset_keeps_grey_images_grey_and_colour_changes_colours() -> None:
    grey = pixels()[..., :1].expand(-1, -1, -1, 3).contiguous()
    view, _ = two_views(grey, preset="grey", seed=(0, 0, 0))
    assert torch.allclose(view[:, 0], view[:, 1], atol=1e-5)
    red = torch.zeros((64, 16, 16, 3), dtype=torch.uint8)
    red[..., 0] = 200
    coloured, _ = two_views(red, preset="colour", seed=(0, 0, 0))
    hues = coloured.mean(dim=(2, 3))
    assert float(hues[:, 2].max()) > 0.02
    assert float((hues.max(dim=1).values - hues.min(dim=1).values).min()) < 1e-5  # some lost all colour
