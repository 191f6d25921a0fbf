"""What runs a network over batches: torch, OpenVINO, ONNX Runtime, or a server that serves it.

Every engine takes uint8 pixels and does the normalisation inside its graph, so that
a batch crosses memory once, as bytes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from foresift.core.errors import MissingExtraError, UnknownNameError, UsageError
from foresift.core.protocols import Engine

if TYPE_CHECKING:
    from torch import nn

REFERENCE = "torch-f32"
INT8 = "openvino-int8"
"""Whole numbers of 8 bits, calibrated on images of the pool that it runs over."""
ENGINES = (REFERENCE, "torch-bf16", "openvino-f32", "openvino-bf16", INT8, "onnx-f32")
"""Spellings of engine and precision, the reference first."""
_PACKAGES = {"torch": ("torch",), "openvino": ("openvino",), "onnx": ("onnxruntime", "onnx", "onnxscript")}
"""What has to be installed for a library's engines; the first one's version is the engine's."""
_EXTRAS = {"torch": "vision"}
"""Where the extra is not called as the library."""
_QUANTISER = "nncf"


def available() -> list[str]:
    """The engines that this installation can run, the reference first."""
    return [name for name in ENGINES if name.startswith("torch") or not _lacking(name)]


def canonical(name: str) -> str:
    """The spelling with precision: ``torch`` is ``torch-f32``; addresses of servers have one spelling too.

    Raises:
        UnknownNameError: neither ``auto`` nor an engine.
        UsageError: an address of a server that lacks something.
    """
    from foresift.engines.kserve import is_served, parse_address  # not at the top: a device has no use for it

    if is_served(name):
        return str(parse_address(name))
    full = {"torch": REFERENCE, "openvino": "openvino-f32", "onnx": "onnx-f32"}.get(name, name)
    if full != "auto" and full not in ENGINES:
        raise UnknownNameError("engine", name, ("auto", *ENGINES))
    return full


def make_engine(
    name: str, network: nn.Module, *, size: int, batch: int, graph: Callable[[nn.Module], Path] | None = None
) -> Engine:
    """An engine for one network and one fixed batch size.

    Args:
        name: one of ``ENGINES``, or the address of a server.
        network: (b, size, size, 3) uint8 -> (logits, embeddings); put into evaluation mode.
        size: side of the images in pixels.
        batch: images a call.
        graph: for ``INT8``: the network's calibrated graph (:func:`foresift.engines.openvino_int8.write_int8`).
    Raises:
        MissingExtraError: the engine's library is not installed.
        UsageError: ``INT8`` without a graph.
        ModelError: the engine can't run this network, or a server serves another.
    """
    from foresift.engines.kserve import is_served

    if is_served(name):
        return _served(name, network, size=size, batch=batch)
    library, precision = canonical(name).split("-")
    if library == "torch":
        from foresift.engines.torch import TorchEngine

        return TorchEngine(network, precision=precision)
    if extra := _lacking(canonical(name)):
        raise MissingExtraError(f"the engine {name}", extra)
    if library == "onnx":
        from foresift.engines.onnx_network import onnx_network

        return onnx_network(network, size=size, batch=batch)
    from foresift.engines.openvino import OpenVinoEngine, convert, read_graph

    if precision != "int8":
        return OpenVinoEngine(convert(network, size=size), precision=precision, size=size, batch=batch)
    if graph is None:
        raise UsageError(f"{name} is calibrated on the images of a pool, and there is none here; use openvino-f32")
    return OpenVinoEngine(read_graph(graph(network)), precision=precision, size=size, batch=batch)


def engine_identity(name: str) -> tuple[str, str]:
    """(library, version and kind of device; precision) of an engine, without starting it.

    Both are part of the key of what it produces. That of ``INT8`` also follows from what it was calibrated on.

    Raises:
        MissingExtraError: the engine's library is not installed.
    """
    from importlib.metadata import version

    from foresift.engines.kserve import PRECISION, is_served

    if is_served(name):
        return f"kserve {canonical(name)}", PRECISION
    library, precision = canonical(name).split("-")
    device = _torch_device() if library == "torch" else "cpu"
    if extra := _lacking(canonical(name)):
        raise MissingExtraError(f"the engine {name}", extra)
    also = f"+{_QUANTISER}-{version(_QUANTISER)}" if precision == "int8" else ""
    return f"{library}-{version(_PACKAGES[library][0]).split('+')[0]}{also}/{device}", precision


def _served(name: str, network: nn.Module, *, size: int, batch: int) -> Engine:
    """A connection to a server, which is held to the widths that the network itself gives."""
    import torch

    from foresift.engines.kserve import KServeEngine, connect, parse_address

    address = parse_address(name)
    with torch.inference_mode():
        device = next(network.parameters()).device
        logits, embeddings = network(torch.zeros((1, size, size, 3), dtype=torch.uint8, device=device))
    widths = (logits.shape[1], embeddings.shape[1])
    return KServeEngine(address, connect(address), size=size, batch=batch, widths=widths)


def _lacking(name: str) -> str:
    """The extra to install for an engine; empty where everything is there."""
    library = name.split("-")[0]
    if not all(importlib.util.find_spec(package) for package in _PACKAGES[library]):
        return _EXTRAS.get(library, library)
    return "int8" if name == INT8 and not importlib.util.find_spec(_QUANTISER) else ""


def _torch_device() -> str:
    """``cuda`` or ``cpu``; asks the driver's files rather than importing torch."""
    from pathlib import Path

    if not Path("/proc/driver/nvidia/version").exists() and not Path("/dev/nvidia0").exists():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
