import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from foresift.core.errors import ModelError
from foresift.core.generations import Generation, Transform
from foresift.models import ScoringModule, build, load_network, replace_head, save_generation, weights
from foresift.models.generations import backbone_digest, probe

TRANSFORM = Transform(size=8)
CLASSES = ("cat", "dog", "owl")


def network(name: str = "cnn:3", seed: int = 0) -> nn.Module:
    return build(name, classes=3, image_size=8, seed=seed).eval()


def save(folder: Path, net: nn.Module, architecture: str = "cnn:3", **more: Any) -> Generation:
    return save_generation(folder, net, architecture=architecture, classes=CLASSES, transform=TRANSFORM, **more)


def logits(net: nn.Module) -> torch.Tensor:
    pixels = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    with torch.inference_mode():
        return ScoringModule(net, TRANSFORM)(pixels)[0]


@pytest.mark.parametrize("name", ["linear", "mlp:5", "cnn:3", "resnet8", "cnn:3+mlp:4"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    saved = save(tmp_path / "a" / "g", network(name), name, seed=4, metrics={"top1": 0.5}, parent="p")
    record = json.loads((tmp_path / "a" / "g" / "generation.json").read_text())
    read = Generation.from_dict(record)
    assert read == saved
    assert read.id == saved.id == record["id"]
    loaded = load_network(tmp_path / "a" / "g", read)
    assert not loaded.training
    assert torch.equal(logits(loaded), logits(network(name)))


def test_folder_holds_two_files_and_no_litter(tmp_path: Path) -> None:
    save(tmp_path / "g", network())
    assert sorted(p.name for p in (tmp_path / "g").iterdir()) == ["generation.json", "model.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["g"]


def test_saving_twice_is_harmless_but_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()  # an empty folder is fine
    assert save(tmp_path / "g", network()) == save(tmp_path / "g", network())
    before = (tmp_path / "g" / "model.safetensors").read_bytes()
    with pytest.raises(ModelError, match="another generation"):
        save(tmp_path / "g", network(seed=1))
    assert (tmp_path / "g" / "model.safetensors").read_bytes() == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    with pytest.raises(ModelError, match="other files"):
        save(tmp_path / "notes", network())


def test_a_crash_leaves_no_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = weights.write_atomically

    def crash_at_record(path: Path, data: bytes) -> None:
        if path.name == "generation.json":
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(weights, "write_atomically", crash_at_record)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path / "g", network())
    assert not list(tmp_path.iterdir())


def test_backbone_digest_ignores_the_head_only() -> None:
    base, retrained = network("resnet8"), network("resnet8")
    nn.init.ones_(retrained.get_submodule("head").weight)
    mlp = replace_head(base, nn.Sequential(nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 9)))
    digest = backbone_digest(base, architecture="resnet8")
    assert backbone_digest(retrained, architecture="resnet8") == digest
    assert backbone_digest(mlp, architecture="resnet8+mlp:4") == digest
    assert backbone_digest(network("resnet8", seed=1), architecture="resnet8") != digest
    nudged = network("resnet8")
    nudged.get_buffer("stem.1.running_mean")[0] += 1e-3
    assert backbone_digest(nudged, architecture="resnet8") != digest


def test_changed_or_missing_weights_are_noticed(tmp_path: Path) -> None:
    generation = save(tmp_path / "g", network())
    path = tmp_path / "g" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not the weights"):
        load_network(tmp_path / "g", generation)
    path.unlink()
    with pytest.raises(ModelError, match="no such file"):
        load_network(tmp_path / "g", generation)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU())
        self.out = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(x))


def test_a_users_own_module_comes_back_into_an_instance_of_it(tmp_path: Path) -> None:
    own = Own()
    generation = save(tmp_path / "g", own, "custom")
    assert generation.embedding_width == 6
    assert torch.equal(logits(load_network(tmp_path / "g", generation, module=Own())), logits(own))
    with pytest.raises(ModelError, match="module="):
        load_network(tmp_path / "g", generation)
    with pytest.raises(ModelError, match="another architecture"):
        load_network(tmp_path / "g", generation, module=network())


def test_a_users_own_module_with_an_mlp_head(tmp_path: Path) -> None:
    headed = replace_head(Own(), nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    generation = save(tmp_path / "g", headed, "custom+mlp:5")
    assert torch.equal(logits(load_network(tmp_path / "g", generation, module=Own())), logits(headed))


class Scaled(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.1 * super().forward(x)


def test_a_module_that_computes_something_else_on_the_same_weights_is_refused(tmp_path: Path) -> None:
    own = Own()
    generation = save(tmp_path / "g", own, "custom")
    assert save(tmp_path / "other", _with_weights(Scaled(), own), "custom").id != generation.id
    with pytest.raises(ModelError, match="computes something else"):
        load_network(tmp_path / "g", generation, module=Scaled())
    nudged = Generation.from_dict({**generation.to_dict(), "probe": [value + 5e-4 for value in generation.probe]})
    load_network(tmp_path / "g", nudged, module=Own())  # another machine rounds a little otherwise


def _with_weights(module: nn.Module, other: nn.Module) -> nn.Module:
    module.load_state_dict(other.state_dict())
    return module


def test_only_a_users_own_module_is_probed_and_the_probe_changes_nothing(tmp_path: Path) -> None:
    assert "probe" not in save(tmp_path / "named", network()).to_dict()
    own = Own().train()
    own.body.eval()  # frozen, as a user may have it
    assert save(tmp_path / "g", own, "custom").probe == probe(own, size=8)
    assert own.training
    assert not own.body.training
    assert len(set(probe(own, size=8))) == 6  # 3 logits of each of 2 images


def test_a_module_that_takes_no_such_images_or_gives_no_numbers_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"can't take \(b, 3, 9, 9\) images"):
        save_generation(tmp_path / "g", Own(), architecture="custom", classes=CLASSES, transform=Transform(size=9))
    huge = Own()
    nn.init.constant_(huge.out.weight, 3e38)
    nn.init.constant_(huge.body[1].bias, 9.0)
    with pytest.raises(ModelError, match="logits are not finite"):
        save(tmp_path / "g", huge, "custom")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("links", [True, False])
def test_more_files_are_there_with_the_record_and_the_originals_stay(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr("os.link", refuse)
    (tmp_path / "log").write_text("one")
    files = {"metrics.csv": tmp_path / "log", "checkpoints/a.ckpt": tmp_path / "log"}
    save(tmp_path / "g", network(), files=files)
    assert [(tmp_path / "g" / name).read_text() for name in files] == ["one", "one"]
    assert (tmp_path / "log").read_text() == "one"


def test_values_that_are_no_plain_json_are_refused(tmp_path: Path) -> None:
    for bad in (float("nan"), object()):
        with pytest.raises(ModelError, match="plain finite JSON"):
            save(tmp_path / "g", network(), metrics={"top1": bad})
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    broken = network()
    nn.init.constant_(broken.get_submodule("head").bias, float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        save(tmp_path / "g", broken)


def test_record_and_network_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 logits, but 2 classes"):
        save_generation(tmp_path / "g", network(), architecture="cnn:3", classes=("cat", "dog"), transform=TRANSFORM)
    with pytest.raises(ModelError, match="architecture cnn:4"):
        save(tmp_path / "g", network(), "cnn:4")
    with pytest.raises(ModelError, match=r"architecture cnn:3\+mlp:4"):
        save(tmp_path / "g", network(), "cnn:3+mlp:4")


def test_saving_and_loading_leave_the_random_state_alone(tmp_path: Path) -> None:
    net = network()
    before = torch.get_rng_state()
    load_network(tmp_path / "g", save(tmp_path / "g", net))
    assert torch.equal(before, torch.get_rng_state())
