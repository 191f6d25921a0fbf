"""Latency by arithmetic: the paper's table cell by cell, budgets of frames, tables of devices."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest

from foresift.core.errors import DataError, UsageError
from foresift.lineage.hardware import Device, fit, frame_budget_ms, latency_ms, merge_devices, parse_devices

TX2, XAVIER, ORIN = 1.3, 21, 50
TX2_DATA_SHEET = 1.33
# Where only the milliseconds of an audit are at hand, GOPs are the one-decimal figures that give them all. 61.1, 404.1
# and 512.9 would give the same, but for one cell: 61.1 GOPs are 47.0 ms on a TX2.
TABLE = {  # GOPs: ms on TX2, Xavier, Orin (Frickenstein et al. 2024, table 2)
    "60.3": ("46.4", "2.9", "1.2"),
    "61.0": ("46.9", "2.9", "1.2"),
    "181.8": ("139.8", "8.7", "3.6"),
    "404.0": ("310.8", "19.2", "8.1"),
    "512.8": ("394.5", "24.4", "10.3"),
}
BY_DATA_SHEET = {"60.3": "45.3", "61.0": "45.9", "181.8": "136.7", "404.0": "303.8", "512.8": "385.6"}


def printed(gops: str, tops: float) -> str:
    """As the table prints it: one decimal, half to even."""
    return str(Decimal(latency_ms(float(gops), tops)).quantize(Decimal("0.1"), rounding=ROUND_HALF_EVEN))


@pytest.mark.parametrize("gops", TABLE)
def test_the_cells_of_the_papers_table_come_out_exactly(gops: str) -> None:
    assert tuple(printed(gops, tops) for tops in (TX2, XAVIER, ORIN)) == TABLE[gops]


@pytest.mark.parametrize("gops", BY_DATA_SHEET)
def test_with_the_data_sheets_peak_of_the_tx2_every_cell_would_be_another(gops: str) -> None:
    assert printed(gops, TX2_DATA_SHEET) == BY_DATA_SHEET[gops] != TABLE[gops][0]


def test_a_share_of_the_peak_takes_longer_by_that_share() -> None:
    assert latency_ms(10, 2, utilisation=0.25) == 4 * latency_ms(10, 2) == 20


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_figures_that_are_no_figures_are_refused(bad: float) -> None:
    for call in (lambda: latency_ms(bad, 1), lambda: latency_ms(1, bad), lambda: frame_budget_ms(bad)):
        with pytest.raises(UsageError, match="above 0"):
            call()
    with pytest.raises(UsageError):
        latency_ms(1, 1, utilisation=1.5)


def test_a_model_fits_up_to_the_frame_budget_and_not_beyond() -> None:
    device = Device(name="d", tops=1.0)
    assert fit(40, device, fps=25).fits is True
    assert fit(40.1, device, fps=25).fits is False
    assert fit(40, device).fits is None
    assert fit(40, device).theoretical_fps == 25


def test_tables_merge_by_name_and_the_later_one_wins() -> None:
    first = parse_devices({"devices": {"a": {"tops": 1}, "b": {"tops": 2, "note": "n"}}}, where="t")
    second = parse_devices({"devices": {"b": {"tops": 3}}}, where="t")
    assert [(d.name, d.tops) for d in merge_devices(first, second)] == [("a", 1.0), ("b", 3.0)]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"devices": {"mine": {"note": "fast"}}}, "mine has no tops"),
        ({"devices": {"mine": None}}, "mine has no tops"),
        ({"devices": {"mine": {"tops": "many"}}}, "tops of device mine must be a number above 0, got 'many'"),
        ({"devices": {"mine": {"tops": True}}}, "above 0"),
        ({"devices": {"mine": {"tops": 0}}}, "above 0"),
        ({"devices": {"mine": {"tops": 2, "watt": 3}}}, "unknown key 'watt'"),
        ([], "expected a table devices:"),
        ({}, "expected a table devices:"),
    ],
)
def test_a_table_without_tops_is_refused_with_the_devices_name(table: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        parse_devices(table, where="FILE")
