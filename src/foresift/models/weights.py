"""Weights on disk: safetensors, or torch files read without running any code of theirs."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from foresift.core.errors import ModelError

StateDict = dict[str, Tensor]

PREFIXES = ("module.", "model.", "network.")
"""What data parallelism and Lightning put before every name."""


def serialise(network: nn.Module) -> bytes:
    """The safetensors bytes of a network's weights; the same weights give the same bytes."""
    # Own copies: the format refuses tensors that share memory (tied weights) and other memory layouts.
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    blob: bytes = safetensors.torch.save(tensors)
    return blob


def save(network: nn.Module, path: Path) -> None:
    """Write ``network``'s weights as safetensors: the file is complete or not there at all."""
    write_atomically(path, serialise(network))


def read(path: Path) -> StateDict:
    """The tensors of ``.safetensors``, ``.pt``, ``.pth`` or ``.ckpt``, prefixes and wrappings taken off.

    Raises:
        ModelError: no such file, torn, another format, or it would run code.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        return parse(path.read_bytes(), where=path)
    if path.suffix in (".pt", ".pth", ".ckpt"):
        return _unwrapped(_torch_load(path), where=path)
    raise ModelError(f"{path}: expected .safetensors, .pt, .pth or .ckpt, got {path.suffix or 'no suffix'!r}")


def parse(data: bytes, *, where: Path) -> StateDict:
    """The tensors in safetensors bytes; ``where`` names them in errors."""
    try:
        return _unprefixed(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise ModelError(f"{where}: not a complete safetensors file ({_line(error)}); copy or save it again") from None


def load(network: nn.Module, path: Path) -> nn.Module:
    """``network`` with the weights of a file; the same object, changed only if every tensor fits.

    Raises:
        ModelError: unreadable, of another architecture, or not finite; says which tensor.
    """
    return apply(network, read(path), where=path)


def apply(network: nn.Module, tensors: Mapping[str, Tensor], *, where: Path) -> nn.Module:
    """``network`` with the given tensors; see :func:`load`."""
    check_fit(network.state_dict(), tensors, where=where)
    check_finite(tensors, where=where)
    network.load_state_dict(dict(tensors))
    return network


def check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], *, where: Path | str) -> None:
    """Raise :class:`ModelError` unless names and shapes agree; counts the faults and names the first."""
    missing = [name for name in expected if name not in given]
    unexpected = sorted(name for name in given if name not in expected)
    misshaped = [n for n in expected if n in given and expected[n].shape != given[n].shape]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(expected)} tensors missing (first {missing[0]!r})")
    if unexpected:
        faults.append(f"{len(unexpected)} unexpected (first {unexpected[0]!r})")
    if misshaped:
        name = misshaped[0]
        shapes = f"{tuple(given[name].shape)} instead of {tuple(expected[name].shape)}"
        faults.append(f"{len(misshaped)} of another shape (first {name!r}: {shapes})")
    if faults:
        raise ModelError(f"{where}: weights of another architecture or number of classes: {', '.join(faults)}")


def check_finite(tensors: Mapping[str, Tensor], *, where: Path | str) -> None:
    """Raise :class:`ModelError` if a tensor holds NaN or infinity; names the tensor."""
    for name, value in sorted(tensors.items()):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ModelError(f"{where}: tensor {name!r} holds NaN or infinity; use weights from before")


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that a crash leaves the old file or the new one, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _torch_load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise ModelError(
                f"{path}: holds Python objects, not only tensors, and is never unpickled; "
                "save it with torch.save(network.state_dict(), path) or as safetensors"
            ) from None
        raise _torn(path, error) from None
    except Exception as error:  # noqa: BLE001 -- arbitrary bytes make the reader fail in arbitrary ways
        raise _torn(path, error) from None


def _torn(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path}: not a complete torch file ({_line(error)}); copy or save it again")


def _unwrapped(loaded: Any, *, where: Path) -> StateDict:
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelError(f"{where}: expected a state dict (names to tensors), got {type(loaded).__name__}")
    return _unprefixed(dict(loaded))


def _unprefixed(tensors: StateDict) -> StateDict:
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _line(error: BaseException) -> str:
    """The first line of an error's text, cut to a readable length."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:120]
