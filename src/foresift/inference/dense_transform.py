"""From RGB pixels of any size to the input of a segmentation model; the same in training and in the field."""

from __future__ import annotations

import numpy as np
from PIL import Image

from foresift.core.arrays import Pixels
from foresift.core.segmentation import DenseTransform
from foresift.inference.decode import decode
from foresift.inference.transform import FILTERS


def load_dense(data: bytes, transform: DenseTransform) -> Pixels:
    """(h, w, 3) uint8 from the bytes of an image file; mean and std are left to the model.

    Raises:
        DecodeError: as :func:`foresift.inference.decode.decode`.
    """
    return apply_dense(decode(data), transform)


def apply_dense(pixels: Pixels, transform: DenseTransform) -> Pixels:
    """(h, w, 3) uint8 from (h', w', 3), in the size that the transform gives; thread-safe.

    Pixels that already have that size come back as they are.
    """
    height, width = transform.target(*pixels.shape[:2])
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), FILTERS[transform.interpolation]))
