import pytest
import timm
import torch
from huggingface_hub import constants

from foresift.core.errors import ModelError, UnknownNameError, UsageError
from foresift.models.embedding import head_path
from foresift.models.registry import ARCHITECTURES, build, canonical, describe, parameters


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("resnet20", 0.27),  # He et al. 2016, table 6
        ("resnet32", 0.46),
        ("resnet56", 0.85),
        ("resnet18-small", 11.17),
        ("resnet34-small", 21.28),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, millions: float) -> None:
    with torch.device("meta"):
        assert round(parameters(build(name, classes=10, image_size=32)) / 1e6, 2) == millions


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet32", "resnet56"])
def test_depth_counts_the_layers_with_weights(name: str) -> None:
    network = build(name, classes=10, image_size=32)
    weighted = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(weighted) == int(name.removeprefix("resnet"))


@pytest.mark.parametrize("size", [8, 11, 32])
@pytest.mark.parametrize("name", ["linear", "mlp:5", "cnn:3", "resnet8", "resnet10-small"])
def test_every_own_network_takes_small_images(name: str, size: int) -> None:
    network = build(name, classes=4, image_size=size).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 4)


def test_first_block_of_a_wider_stage_pads_channels_without_parameters() -> None:
    block = build("resnet8", classes=2, image_size=8).get_submodule("stages.1")
    x = torch.rand(1, 16, 8, 8)
    shortcut = block.shortcut(x)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert not shortcut[:, :8].any()
    assert not shortcut[:, 24:].any()


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("resnet10", "resnet10-small"),
        ("mlp", "mlp:64"),
        ("mlp:064", "mlp:64"),
        ("timm:resnet18", "resnet18"),
        ("resnet18+mlp:32", "resnet18+mlp:32"),
        ("resnet18.a1_in1k", "resnet18.a1_in1k"),
    ],
)
def test_one_spelling(given: str, spelled: str) -> None:
    assert canonical(given) == spelled
    assert canonical(spelled) == spelled


def test_same_seed_same_weights_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, second = (build("mlp:4", classes=3, image_size=8, seed=7).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(before, torch.get_rng_state())
    other = build("mlp:4", classes=3, image_size=8, seed=8).state_dict()
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    ("name", "near"), [("resnett20", "resnet20"), ("mobilenetv3_smal_100", "mobilenetv3_small_100")]
)
def test_unknown_name_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{near}'"):
        build(name, classes=2, image_size=32)


@pytest.mark.parametrize("name", ["mlp:0", "mlp:x", "resnet20:3", "resnet18+cnn:3", "resnet18+mlp"])
def test_bad_widths_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        build(name, classes=2, image_size=32)


def test_one_class_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 classes"):
        build("linear", classes=1, image_size=8)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("deit_tiny_distilled_patch16_224+mlp:8", 32, "2 classifiers, not in one linear layer"),
        ("resnetv2_18+mlp:8", 64, "Conv2d, not in one linear layer"),
        ("inception_v3", 40, "can't take 40x40"),
        ("vit_tiny_patch16_224", 8, "8"),
    ],
)
def test_timm_networks_that_do_not_fit_are_refused_before_training(name: str, size: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, classes=3, image_size=size)


def test_listing_builds_nothing_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: pytest.fail("built a timm model"))
    rows = {row.name: row for row in describe()}
    assert rows["resnet20"].parameters == 269_722
    assert rows["resnet10-small"].aliases == ("resnet10",)
    assert len(rows) == len(ARCHITECTURES.names())


def test_published_weights_offline_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="can't be had here") as caught:
        build("resnet18", classes=3, image_size=32, pretrained=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no published weights"):
        build("resnet20", classes=3, image_size=32, pretrained=True)


def test_plugins_come_through_the_same_door() -> None:
    def builder(*, classes: int, image_size: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * image_size**2, classes))

    ARCHITECTURES.add("plugged", builder)
    try:
        assert head_path(build("plugged", classes=3, image_size=4)) == "1"
        assert "plugged" in [row.name for row in describe()]
    finally:
        del ARCHITECTURES._entries["plugged"]
