"""A network in whole numbers of 8 bits: ranges of its activations are seen on images, weights are rounded.

Post-training quantisation by NNCF: no labels, no training. Nothing is reported to anybody: the module that would do
so is kept out of the way by :mod:`foresift.engines.openvino`. Nothing here may import OpenVINO but through that.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from torch import nn

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError
from foresift.engines.openvino import convert, refusal, write_graph

_CHATTY = ("nncf", "openvino", "torch")
"""Loggers of libraries that advise where nobody asked."""


def write_int8(network: nn.Module, pixels: Pixels, *, size: int, path: Path) -> None:
    """Write a network's graph in int8 to ``path`` (.xml) and the file of its weights beside it (.bin).

    The same network and pixels give the same numbers in the graph; names of its nodes may differ.

    Args:
        network: (b, size, size, 3) uint8 pixels to logits and embeddings, normalisation included; stays as it is.
        pixels: (n, size, size, 3) that the ranges of activations are taken from, in this order.
    Raises:
        DataError: no pixels.
        ModelError: OpenVINO or NNCF can't take this network.
    Cost: a few forward passes an image, and seconds a network.
    """
    if not len(pixels):
        raise DataError("not one image to calibrate on; give a pool with images that can be decoded")
    model = convert(network, size=size)
    with _silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation notices from inside the library
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        # The library's default range is that of an average image, which cuts off what the strongest ones give.
        seen = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        )
        try:
            images = nncf.Dataset([pixels[row : row + 1] for row in range(len(pixels))])
            quantised = nncf.quantize(model, images, subset_size=len(pixels), advanced_parameters=seen)
            write_graph(quantised, path)
        except Exception as error:
            raise refusal(error) from error


@contextmanager
def _silence() -> Iterator[None]:
    """No progress bars and no advice on standard output, which belongs to commands; others go on logging."""
    kind = logging.getLoggerClass()
    with redirect_stdout(io.StringIO()), _only_errors():
        try:
            import nncf  # noqa: F401 - it sets a level of its own, which is raised next

            with _only_errors():
                yield
        finally:
            logging.setLoggerClass(kind)  # NNCF puts its own in place for every library


@contextmanager
def _only_errors() -> Iterator[None]:
    """Warnings of these libraries are left out: torch's of a missing CUDA where NNCF looks for a compiler."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    try:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
