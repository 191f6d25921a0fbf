"""Which feature maps of a segmentation network are looked at, and the module that predicts a loss for every place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from foresift.core.errors import ModelError
from foresift.core.masks import MaskClasses
from foresift.core.segmentation import DenseTransform, SegmentationGeneration
from foresift.models.loss_map import LossMap, check_watchable, load_loss_map, loss_map_of, with_loss_map
from foresift.models.loss_prediction import PART
from foresift.models.segmentation import CONTEXTS, HEADS, Segmenter, build_segmenter
from foresift.models.segmentation_generations import save_segmenter

SMALL = "deeplabv3plus:mobilenetv3_small_050"


def build(head: str = "deeplabv3plus") -> Segmenter:
    return build_segmenter(f"{head}:mobilenetv3_small_050", classes=3, seed=1).eval()


def images(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> Segmenter:
    return build()


@pytest.mark.parametrize("head", CONTEXTS)
@torch.inference_mode()
def test_a_loss_is_predicted_for_every_square_of_four_pixels(head: str) -> None:
    watched = with_loss_map(build(head), seed=0).eval()
    logits, maps = watched.observe(images(130, 150))
    assert torch.equal(logits, watched.network(images(130, 150)))
    padded = [-(-side // watched.network.stride) * watched.network.stride for side in (130, 150)]
    assert watched.predicted(maps).shape == (2, padded[0] // 4, padded[1] // 4)


@torch.inference_mode()
def test_the_four_maps_of_deeplab_are_those_of_the_paper(network: Segmenter) -> None:
    """Low-level and high-level features of the backbone, what ASPP gives, what the last convolution takes."""
    pixels = images(64, 96)
    low, high, context, last = network.observe(pixels)[1]
    features = network.encoder(pixels)
    assert torch.equal(low, features[2])
    assert torch.equal(high, features[-1])
    assert torch.equal(context, network.decoder.aspp(features[-1]))
    assert torch.equal(network.head(last), network(pixels))
    assert low.shape[2:] == (16, 24)


@torch.inference_mode()
def test_it_is_one_convolution_over_all_maps_brought_to_the_first_one_s_size() -> None:
    """The definition, with every channel resized; (algorithms.md, 1.2)."""
    torch.manual_seed(0)
    maps = [torch.randn(2, width, *size) for width, size in ((4, (6, 8)), (7, (2, 3)), (5, (3, 4)), (3, (6, 8)))]
    module = LossMap([4, 7, 5, 3]).double()
    doubles = [values.double() for values in maps]
    seen = [torch.relu(layer(values)) for layer, values in zip(module.layers, doubles, strict=True)]
    resized = [functional.interpolate(values, size=(6, 8), mode="bilinear") for values in seen]
    assert [values.shape[1] for values in seen] == [128] * 4
    torch.testing.assert_close(module(doubles), module.last(torch.cat(resized, dim=1))[:, 0])


@pytest.mark.parametrize("head", sorted(set(HEADS) - set(CONTEXTS)))
def test_heads_without_such_a_map_are_refused_in_one_line(head: str) -> None:
    with pytest.raises(
        ModelError, match=rf"which {head} does not do; take one of deeplabv3, deeplabv3plus, manet, pan"
    ):
        check_watchable(f"{head}:resnet18")


def test_a_network_that_is_not_watchable_says_so() -> None:
    with pytest.raises(ModelError, match="none of deeplabv3"):
        with_loss_map(build("unet"), seed=0)


def test_making_it_depends_on_the_seed_and_leaves_the_rest_alone(network: Segmenter) -> None:
    network.train()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    first, same, other = (with_loss_map(network, seed=seed).module for seed in (0, 0, 1))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert network.training
    network.eval()
    assert torch.equal(first.last.weight, same.last.weight)
    assert not torch.equal(first.last.weight, other.last.weight)


def saved(folder: Path, network: Segmenter) -> tuple[LossMap, SegmentationGeneration]:
    module = with_loss_map(network, seed=7).module
    classes = MaskClasses.numbered(["a", "b", "c"])
    common = {"architecture": SMALL, "classes": classes, "transform": DenseTransform()}
    return module.eval(), save_segmenter(folder, network, **common, parts={PART: module})  # type: ignore[arg-type]


def test_it_comes_back_from_disk_to_the_last_bit(network: Segmenter, tmp_path: Path) -> None:
    module, record = saved(tmp_path / "gen", network)
    state = torch.get_rng_state()
    loaded = load_loss_map(tmp_path / "gen", record)
    assert torch.equal(state, torch.get_rng_state())
    with torch.inference_mode():
        first, second = (loss_map_of(network, part)(images(20, 30)) for part in (module, loaded))
    assert torch.equal(first, second)
    plain = json.loads((tmp_path / "gen" / "generation.json").read_text())
    assert SegmentationGeneration.from_dict(plain) == record


def test_a_changed_file_is_refused(network: Segmenter, tmp_path: Path) -> None:
    record = saved(tmp_path / "gen", network)[1]
    file = tmp_path / "gen" / "loss-prediction.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelError, match="not the weights that the record names"):
        load_loss_map(tmp_path / "gen", record)


def test_records_without_it_keep_their_ids_and_say_how_to_get_it(network: Segmenter, tmp_path: Path) -> None:
    classes = MaskClasses.numbered(["a", "b", "c"])
    record = save_segmenter(tmp_path / "gen", network, architecture=SMALL, classes=classes, transform=DenseTransform())
    assert "parts" not in record.to_dict()
    with pytest.raises(ModelError, match=r"no loss-prediction module; train one that has: foresift train DATA --task"):
        load_loss_map(tmp_path / "gen", record)
