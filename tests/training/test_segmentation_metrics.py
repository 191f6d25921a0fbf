import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foresift.core.errors import UsageError
from foresift.training.segmentation_metrics import confusion, segmentation_metrics

CODES = arrays(np.int64, (2, 5, 6), elements=st.integers(-1, 3))


@given(codes=CODES, predicted=arrays(np.int64, (2, 5, 6), elements=st.integers(0, 3)))
def test_intersection_over_union_by_its_definition(codes: np.ndarray, predicted: np.ndarray) -> None:
    table = confusion(torch.from_numpy(predicted), torch.from_numpy(codes), classes=4).numpy()
    counts = codes != -1
    assert table.sum() == counts.sum()
    if not counts.any():
        return
    found = segmentation_metrics(table)
    ious = []
    for code in range(4):
        true, taken = (codes == code) & counts, (predicted == code) & counts
        union = (true | taken).sum()
        iou = (true & taken).sum() / union if union else None
        assert found["iou"][code] == (None if iou is None else pytest.approx(iou))
        assert found["class_accuracy"][code] == (
            pytest.approx((true & taken).sum() / true.sum()) if true.any() else None
        )
        if true.any():
            ious.append(iou)
    assert found["miou"] == pytest.approx(np.mean(ious))
    assert found["pixel_accuracy"] == pytest.approx((predicted == codes)[counts].mean())
    json.dumps(found, allow_nan=False)


def test_what_the_ignored_pixels_are_taken_for_changes_nothing() -> None:
    codes = torch.tensor([[0, 1, -1, -1]])
    tables = [confusion(torch.tensor([[0, 1, *rest]]), codes, classes=2) for rest in ([0, 0], [1, 1], [0, 1])]
    assert all(torch.equal(table, torch.eye(2, dtype=torch.int64)) for table in tables)


def test_parts_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    codes, predicted = (torch.from_numpy(rng.integers(low, 4, size=(6, 5, 5))) for low in (-1, 0))
    parts = sum(confusion(predicted[i : i + 2], codes[i : i + 2], classes=4) for i in (0, 2, 4))
    assert torch.equal(parts, confusion(predicted, codes, classes=4))


def test_nothing_to_measure_is_refused() -> None:
    for table in (np.zeros((2, 2), dtype=np.int64), np.ones((2, 3), dtype=np.int64)):
        with pytest.raises(UsageError):
            segmentation_metrics(table)
