import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from foresift.core.errors import ModelError
from foresift.models import build, weights


def network(name: str = "cnn:3", classes: int = 4, seed: int = 0) -> nn.Module:
    return build(name, classes=classes, image_size=8, seed=seed)


def same(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        weights.save(network(), path)
    else:
        torch.save(network().state_dict(), path)
    assert same(weights.load(network(seed=1), path), network())


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_wrappings_and_prefixes_come_off(tmp_path: Path, prefix: str, wrapped: bool) -> None:
    state = {prefix + name: value for name, value in network().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "w.pt")
    assert same(weights.load(network(seed=1), tmp_path / "w.pt"), network())


def test_memory_layout_and_tied_weights_do_not_change_the_bytes() -> None:
    plain = weights.serialise(network())
    assert weights.serialise(network().to(memory_format=torch.channels_last)) == plain
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert weights.serialise(tied)


def refused(path: Path, message: str, into: nn.Module | None = None) -> None:
    target = into or network(seed=1)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(ModelError, match=message) as caught:
        weights.load(target, path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_another_architecture_names_the_first_tensor_and_counts(tmp_path: Path) -> None:
    weights.save(network("mlp:5"), tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", r"18 of 20 tensors missing \(first 'blocks\.0\.0\.weight'\)")
    refused(tmp_path / "w.safetensors", r"unexpected \(first 'hidden\.bias'\)")


def test_another_number_of_classes_names_the_shapes(tmp_path: Path) -> None:
    weights.save(network(classes=7), tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", r"2 of another shape \(first 'head\.weight': \(7, 12\) instead of \(4, 12\)\)")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"w{suffix}"
    weights.save(network(), path) if suffix == ".safetensors" else torch.save(network().state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, "not a complete")


def test_garbage(tmp_path: Path) -> None:
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(b"this is no weights file at all" * 40)
        refused(tmp_path / name, "not a complete")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (os.environ["BOMB"],))


@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_with_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: bool) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    payload = {"state_dict": network().state_dict(), "extra": Bomb()} if nested else Bomb()
    torch.save(payload, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "never unpickled")
    assert not (tmp_path / "exploded").exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "never unpickled")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_name_the_tensor(tmp_path: Path, value: float) -> None:
    state = network().state_dict()
    state["head.bias"][1] = value
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    refused(tmp_path / "w.safetensors", r"'head\.bias' holds NaN or infinity")


def test_files_that_are_no_state_dict(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "expected a state dict")
    refused(tmp_path / "absent.pt", "no such weights file")
    (tmp_path / "w.h5").touch()
    refused(tmp_path / "w.h5", r"expected \.safetensors")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    weights.save(network(), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        weights.save(network(seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
