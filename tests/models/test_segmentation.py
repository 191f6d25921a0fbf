from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from foresift.core.errors import ModelError, UnknownNameError, UsageError
from foresift.core.masks import MaskClasses
from foresift.core.segmentation import DenseTransform, SegmentationGeneration
from foresift.models import build, weights
from foresift.models.segmentation import HEADS, Segmenter, build_segmenter, canonical_segmenter, load_encoder
from foresift.models.segmentation_generations import load_segmenter, save_segmenter
from foresift.stores.generations import is_segmentation, read_generation, read_segmentation

SMALL = "deeplabv3plus:mobilenetv3_small_100"
CLASSES = MaskClasses(classes=("a", "b", "c"), values=(0, 1, 7), ignored=(255,))


@pytest.fixture(scope="module")
def network() -> Segmenter:
    return build_segmenter(SMALL, classes=3, seed=1).eval()


def images(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (48, 64), (97, 16)])
@torch.inference_mode()
def test_images_of_any_size_get_logits_of_that_size(network: Segmenter, size: tuple[int, int]) -> None:
    logits, embeddings = network.with_embedding(images(*size))
    assert logits.shape == (2, 3, *size)
    assert embeddings.shape == (2, network.embedding_width)
    assert torch.equal(network(images(*size)), logits)


@torch.inference_mode()
def test_logits_are_those_of_the_padded_image_without_the_padding(network: Segmenter) -> None:
    small = images(33, 50)
    padded = small[:, :, torch.arange(48).clamp(max=32)][:, :, :, torch.arange(64).clamp(max=49)]
    torch.testing.assert_close(network(small), network(padded)[:, :, :33, :50])


@torch.inference_mode()
def test_it_is_the_library_s_own_network(network: Segmenter) -> None:
    import segmentation_models_pytorch as smp

    own = smp.create_model("deeplabv3plus", "tu-mobilenetv3_small_100", encoder_weights=None, classes=3).eval()
    own.encoder.load_state_dict(network.encoder.state_dict())
    own.decoder.load_state_dict(network.decoder.state_dict())
    own.segmentation_head.load_state_dict(network.head.state_dict())
    torch.testing.assert_close(network(images(48, 64)), own(images(48, 64)))


def test_the_padding_has_no_gradient(network: Segmenter) -> None:
    """Nothing that is asked of the logits can depend on what the padding's own logits would be."""
    seen: list[Tensor] = []
    hook = network.head.register_forward_hook(lambda _m, _i, out: seen.append(out.requires_grad_()) or None)
    try:
        logits = network(images(33, 50))
        (gradient,) = torch.autograd.grad(logits.square().sum(), seen[0])
    finally:
        hook.remove()
    assert gradient.shape[2:] == (48, 64)
    assert (gradient[:, :, 33:] == 0).all()
    assert (gradient[:, :, :, 50:] == 0).all()
    assert (gradient[:, :, :33, :50] != 0).any()


def test_the_seed_decides_the_weights_and_leaves_the_callers_generator_alone(network: Segmenter) -> None:
    before = torch.get_rng_state()
    again, other = (build_segmenter(SMALL, classes=3, seed=seed) for seed in (1, 2))
    assert torch.equal(before, torch.get_rng_state())
    same, differ = (dict(one.state_dict()) for one in (again, other))
    assert all(torch.equal(value, same[name]) for name, value in network.state_dict().items())
    assert not all(torch.equal(value, differ[name]) for name, value in network.state_dict().items())


def test_heads_are_the_library_s() -> None:
    import segmentation_models_pytorch as smp

    assert set(HEADS) == set(smp.MODEL_ARCHITECTURES_MAPPING) - {"dpt"}  # dpt takes transformers of one size only


def test_names() -> None:
    assert canonical_segmenter("unet:timm:resnet18") == "unet:resnet18"
    with pytest.raises(UnknownNameError, match="did you mean 'unet'"):
        canonical_segmenter("unnet:resnet18")
    with pytest.raises(UnknownNameError, match=r"encoder 'resnet1888'.*resnet18"):
        canonical_segmenter("unet:resnet1888")
    with pytest.raises(UsageError, match="HEAD:ENCODER"):
        canonical_segmenter("unet")
    with pytest.raises(UsageError, match="at least 2 classes"):
        build_segmenter(SMALL, classes=1)
    with pytest.raises(ModelError, match="can't be the encoder of deeplabv3plus"):
        build_segmenter("deeplabv3plus:mixer_s32_224", classes=2)
    with pytest.raises(ModelError, match="--task segmentation"):
        build(SMALL, classes=2, image_size=32)


@pytest.mark.parametrize("encoder", ["mobilenetv3_small_100", "resnet18"])
def test_an_encoder_takes_the_weights_of_timm_s_network(tmp_path: Path, encoder: str) -> None:
    classifier = timm.create_model(encoder, num_classes=5)
    weights.save(classifier, tmp_path / "encoder.safetensors")
    network = build_segmenter(f"unet:{encoder}", classes=2)
    load_encoder(network, tmp_path / "encoder.safetensors")
    assert torch.equal(next(iter(network.encoder.parameters())), next(iter(classifier.parameters())))
    features = classifier.eval().forward_features(images(64, 64))
    ours = network.eval().encoder(images(64, 64))[-1]
    if encoder == "resnet18":  # the other ends in a layer that its features lack
        torch.testing.assert_close(ours, features)


def test_weights_of_another_encoder_are_refused(tmp_path: Path, network: Segmenter) -> None:
    weights.save(timm.create_model("resnet18", num_classes=5), tmp_path / "encoder.safetensors")
    with pytest.raises(ModelError, match="tensors missing"):
        load_encoder(network, tmp_path / "encoder.safetensors")


@pytest.fixture(scope="module")
def saved(network: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SegmentationGeneration]:
    folder = tmp_path_factory.mktemp("saved") / "gen"
    transform = DenseTransform(size=(48, 64))
    return folder, save_segmenter(folder, network, architecture=SMALL, classes=CLASSES, transform=transform)


def test_a_generation_comes_back_from_its_folder(
    network: Segmenter, saved: tuple[Path, SegmentationGeneration]
) -> None:
    folder, generation = saved
    assert is_segmentation(folder)
    assert read_segmentation(folder) == generation
    assert generation.mask_classes == CLASSES
    loaded = load_segmenter(folder, generation)
    with torch.inference_mode():
        assert torch.equal(loaded(images(48, 64)), network(images(48, 64)))
    save_segmenter(folder, network, architecture=SMALL, classes=CLASSES, transform=generation.transform)
    with pytest.raises(ModelError, match="holds another generation"):
        save_segmenter(folder, network, architecture=SMALL, classes=CLASSES, transform=generation.transform, seed=5)


def test_a_reader_of_classifiers_refuses_it(saved: tuple[Path, SegmentationGeneration]) -> None:
    with pytest.raises(ModelError, match="a segmentation model, expected a classifier"):
        read_generation(saved[0])


def test_changed_weights_are_refused(saved: tuple[Path, SegmentationGeneration], tmp_path: Path) -> None:
    folder, generation = saved
    blob = bytearray((folder / "model.safetensors").read_bytes())
    blob[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(blob)
    with pytest.raises(ModelError, match="not the weights"):
        load_segmenter(tmp_path, generation)


@torch.inference_mode()
def test_the_resnet_of_cifar_is_an_encoder(tmp_path: Path) -> None:
    network = build_segmenter("deeplabv3plus:resnet20", classes=3, seed=0).eval()
    assert (network.stride, network.embedding_width) == (16, 64)
    maps = network.encoder(images(64, 96))
    assert [tuple(one.shape[1:]) for one in maps] == [
        (3, 64, 96), (16, 32, 48), (16, 16, 24), (32, 8, 12), (64, 4, 6)
    ]  # fmt: skip
    assert network(images(33, 50)).shape == (2, 3, 33, 50)
    assert torch.equal(network.low_level(images(64, 96)), maps[2])
    classifier = build("resnet20", classes=5, image_size=32, seed=1)
    (tmp_path / "c.safetensors").write_bytes(weights.serialise(classifier))
    load_encoder(network, tmp_path / "c.safetensors")
    for name, value in network.encoder.model.state_dict().items():
        assert torch.equal(value, classifier.state_dict()[name])
    with pytest.raises(ModelError, match=r"goes with deeplabv3plus only|can.t be the encoder"):
        build_segmenter("unet:resnet20", classes=3)
