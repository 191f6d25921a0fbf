"""Which feature maps are looked at, and the module on its way to disk and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from foresift.core.errors import ModelError
from foresift.core.generations import Transform
from foresift.models import (
    ScoringModule,
    build,
    load_loss_prediction,
    loss_predictor,
    save_generation,
    with_loss_prediction,
)
from foresift.models.loss_prediction import PART, taps_of

WIDTHS = {
    "mlp:5": (5,),
    "cnn:2": (2, 4, 8),
    "resnet20": (16, 16, 32, 64),
    "resnet10-small": (64, 128, 256, 512),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_our_networks_are_watched_at_the_end_of_every_stage(name: str) -> None:
    network = build(name, classes=3, image_size=8, seed=0)
    assert with_loss_prediction(network, size=8, seed=0).module.widths == WIDTHS[name]


@pytest.mark.parametrize(
    ("name", "widths"),
    [("resnet18", (64, 128, 256, 512)), ("vit_tiny_patch16_224", (192,) * 4), ("mobilenetv3_small_050", None)],
)
def test_networks_of_timm_are_watched_at_four_places(name: str, widths: tuple[int, ...] | None) -> None:
    side = 224 if name.startswith("vit") else 64
    network = timm.create_model(name, pretrained=False, num_classes=3)
    watched = with_loss_prediction(network, size=side, seed=0).eval()
    assert len(watched.module.widths) == 4
    assert widths is None or watched.module.widths == widths
    with torch.inference_mode():
        images = torch.randn(2, 3, side, side)
        logits, maps = watched.observe(images)
        assert watched.predicted(maps).shape == (2,)
        assert torch.equal(logits, network(images))


def test_many_maps_are_taken_evenly_the_last_among_them() -> None:
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=3)
    assert taps_of(network) == ("blocks.2", "blocks.5", "blocks.8", "blocks.11")


def test_channels_may_come_last() -> None:
    """As in Swin: (b, h, w, channels)."""
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten(), nn.Linear(6 * 16, 2))
    network.taps = ("0",)  # type: ignore[assignment]
    module = with_loss_prediction(network, size=4, seed=0).module
    maps = torch.randn(2, 6, 4, 5)
    assert torch.allclose(module([maps]), module([maps.permute(0, 2, 3, 1)]))


def test_a_network_without_feature_maps_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no feature maps.*attribute taps"):
        with_loss_prediction(build("linear", classes=3, image_size=8, seed=0), size=8, seed=0)


def test_making_it_leaves_the_network_and_the_random_state_alone() -> None:
    network = build("cnn:2", classes=3, image_size=8, seed=0).train()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    with_loss_prediction(network, size=8, seed=0)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def saved(folder: Path) -> tuple[nn.Module, nn.Module, Path]:
    network = build("cnn:2", classes=3, image_size=8, seed=0)
    module = with_loss_prediction(network, size=8, seed=7).module
    transform = Transform(size=8)
    save_generation(
        folder, network, architecture="cnn:2", classes=("a", "b", "c"), transform=transform, parts={PART: module}
    )
    return network, module, folder


def test_it_comes_back_from_disk_to_the_last_bit(tmp_path: Path) -> None:
    from foresift.stores.generations import read_generation

    network, module, folder = saved(tmp_path / "gen")
    loaded = load_loss_prediction(folder, read_generation(folder))
    assert loaded is not None
    scoring = ScoringModule(network, Transform(size=8))
    pixels = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    with torch.inference_mode():
        first, second = (loss_predictor(scoring, network, part)(pixels) for part in (module.eval(), loaded))  # type: ignore[arg-type]
    assert torch.equal(first, second)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    from foresift.stores.generations import read_generation

    folder = saved(tmp_path / "gen")[2]
    file = folder / "loss-prediction.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelError, match="not the weights that the record names"):
        load_loss_prediction(folder, read_generation(folder))
    file.unlink()
    with pytest.raises(ModelError, match="missing"):
        load_loss_prediction(folder, read_generation(folder))


def test_records_without_parts_keep_their_ids(tmp_path: Path) -> None:
    network = build("cnn:2", classes=3, image_size=8, seed=0)
    record = save_generation(
        tmp_path / "gen", network, architecture="cnn:2", classes=("a", "b", "c"), transform=Transform(size=8)
    )
    assert "parts" not in record.to_dict()
    assert load_loss_prediction(tmp_path / "gen", record) is None
