"""Pictures of a study: the learning curve and the contact sheet, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from foresift.stores.files import write_atomically
from foresift.studies.demo.gallery import Shown
from foresift.studies.demo.study import CHOSEN, RANDOM, ROLES, Results
from foresift.studies.paired import deviation

# Line style and marker tell the arms apart in black and white; the colours are of the colour-blind-safe
# palette of Okabe and Ito.
STYLES: dict[str, dict[str, Any]] = {
    CHOSEN: {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    RANDOM: {"color": "#C15700", "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
}
_COLUMNS, _CELL, _GAP, _CAPTION, _HEADING = 6, 112, 20, 46, 44
_INK, _SOFT, _PAPER = "#1c1c1c", "#555555", "#ffffff"


def learning_curve(results: Results, path: Path) -> None:
    """Write test accuracy against labels, mean and standard deviation over seeds, one panel a model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(ROLES), sharey=True)
    for panel, role in zip(panels, ROLES, strict=True):
        _panel(panel, results, role)
    panels[0].set_ylabel("test accuracy (%)", fontsize=12)
    panels[-1].legend(loc="lower right", fontsize=11, frameon=False)
    write_atomically(path, lambda target: figure.savefig(target, format="png", metadata={"Software": None}))


def contact_sheet(results: Results, folder: Path, path: Path) -> None:
    """Write the most and the least informative images with score, predicted and true class.

    Args:
        folder: of the demo; the images lie below it.
    """
    gallery = results.gallery
    halves = (("Most informative", gallery.most), ("Least informative", gallery.least))
    width = _GAP + _COLUMNS * (_CELL + _GAP)
    heights = [_half_height(shown) for _, shown in halves]
    sheet = Image.new("RGB", (width, sum(heights) + _GAP), _PAPER)
    top = _GAP // 2
    for (title, shown), height in zip(halves, heights, strict=True):
        _half(sheet, f"{title} (by {gallery.score})", shown, folder=folder, top=top)
        top += height
    write_atomically(path, lambda target: sheet.save(target, format="PNG"))


def enlarged(path: Path, side: int) -> Image.Image:
    """An image with every pixel as a sharp square; RGB, ``side`` pixels wide and high."""
    with Image.open(path) as image:
        return image.convert("RGB").resize((side, side), Image.Resampling.NEAREST)


def png_bytes(image: Image.Image) -> bytes:
    """An image as the bytes of a PNG file."""
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _panel(panel: Any, results: Results, role: str) -> None:
    names = {CHOSEN: f"chosen by {results.protocol.strategy}", RANDOM: "random"}
    step = results.sizes[-1] / 100  # side by side, so that error bars do not hide each other
    for arm, shift in ((CHOSEN, -step), (RANDOM, step)):
        values = [getattr(results.paired(role, size), arm) for size in results.sizes]
        spreads = [100 * (deviation(seeds) or 0.0) for seeds in values]
        panel.errorbar(
            [size + shift for size in results.sizes],
            [100 * fmean(seeds) for seeds in values],
            yerr=spreads if len(results.runs) > 1 else None,
            label=names[arm],
            linewidth=1.8,
            markersize=6.5,
            capsize=4,
            **STYLES[arm],
        )
    model = results.models[role]
    panel.set_title(f"{role}: {model['architecture']}, {model['parameters']:,} parameters", fontsize=12)
    panel.set_xlabel("labels", fontsize=12)
    panel.set_xticks(results.sizes)
    panel.tick_params(labelsize=11)
    panel.grid(axis="y", color="#dddddd", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _half_height(shown: Sequence[Shown]) -> int:
    rows = -(-len(shown) // _COLUMNS)
    return _HEADING + rows * (_CELL + _CAPTION + _GAP // 2)


def _half(sheet: Image.Image, title: str, shown: Sequence[Shown], *, folder: Path, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, top + 8), title, fill=_INK, font=ImageFont.load_default(22))
    for at, one in enumerate(shown):
        row, column = divmod(at, _COLUMNS)
        x = _GAP + column * (_CELL + _GAP)
        y = top + _HEADING + row * (_CELL + _CAPTION + _GAP // 2)
        sheet.paste(enlarged(folder / one.uri, _CELL), (x, y))
        draw.text((x, y + _CELL + 4), says(one), fill=_INK, font=ImageFont.load_default(16))
        draw.text((x, y + _CELL + 23), f"score {one.score:.3f}", fill=_SOFT, font=ImageFont.load_default(15))


def says(one: Shown) -> str:
    """What the model says of an image, and what it is."""
    return f"says {one.predicted}, is {one.label}"
