import io

import numpy as np
from PIL import Image

from foresift.core.segmentation import DenseTransform
from foresift.inference.dense_transform import apply_dense, load_dense


def test_images_get_the_size_that_the_transform_gives() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(30, 41, 3), dtype=np.uint8)
    assert apply_dense(pixels, DenseTransform(size=(18, 24))).shape == (18, 24, 3)
    assert apply_dense(pixels, DenseTransform(scale=0.5)).shape == (15, 20, 3)
    assert apply_dense(pixels, DenseTransform()) is pixels


def test_a_constant_image_stays_constant() -> None:
    file = io.BytesIO()
    Image.new("RGB", (41, 30), (7, 8, 9)).save(file, "PNG")
    found = load_dense(file.getvalue(), DenseTransform(size=(18, 24), interpolation="bicubic"))
    assert (found == [7, 8, 9]).all()
