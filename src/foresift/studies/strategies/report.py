"""The comparison of strategies as a page and a picture; what did not beat random is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from foresift.stores.files import write_atomically
from foresift.studies.paired import CLEAR, Paired, deviation
from foresift.studies.strategies.study import PRESETS, RANDOM, Cell, Comparison

PAGE, PICTURE = "strategies.md", "strategies.png"
_BEAT, _WORSE, _OPEN = "#0072B2", "#C15700", "#888888"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One strategy with one learner on one image set, all seeds."""

    strategy: str
    cells: tuple[Cell, ...]
    pair: Paired
    """Mean accuracy over the rounds, seed by seed, against random's."""

    @property
    def gain(self) -> float:
        """Mean gain over random in percentage points."""
        return 100 * fmean(self.pair.differences)

    @property
    def reach(self) -> float:
        """Two standard errors of the gain, in percentage points; 0 for a single seed."""
        return 100 * CLEAR * (self.pair.standard_error or 0.0)


def groups(comparison: Comparison) -> list[tuple[str, str]]:
    """(image set, learner) in the order in which they ran."""
    return list(dict.fromkeys((cell.images, cell.learner) for cell in comparison.cells))


def rows_of(comparison: Comparison, images: str, learner: str) -> list[Row]:
    """Every strategy that ran, the largest gain over random first."""
    here = [cell for cell in comparison.cells if (cell.images, cell.learner) == (images, learner)]
    baseline = {cell.seed: _area(cell) for cell in here if cell.strategy == RANDOM}
    rows = []
    for name in dict.fromkeys(cell.strategy for cell in here):
        cells = tuple(cell for cell in here if cell.strategy == name and not cell.refused)
        if cells:
            pair = Paired(
                chosen=tuple(_area(cell) for cell in cells), random=tuple(baseline[cell.seed] for cell in cells)
            )
            rows.append(Row(strategy=name, cells=cells, pair=pair))
    return sorted(rows, key=lambda row: -row.gain)


def refusals(comparison: Comparison, images: str, learner: str) -> dict[str, str]:
    """Strategies without a result, and why."""
    here = [c for c in comparison.cells if (c.images, c.learner) == (images, learner) and c.refused]
    return {cell.strategy: cell.refused for cell in here}


def verdicts(comparison: Comparison) -> list[str]:
    """What beat random and what did not, in one sentence each, for every image set and learner."""
    told = []
    for images, learner in groups(comparison):
        rows = [row for row in rows_of(comparison, images, learner) if row.strategy != RANDOM]
        by = {kind: [row.strategy for row in rows if row.pair.outcome == kind] for kind in ("win", "loss")}
        rest = [row.strategy for row in rows if row.pair.outcome not in ("win", "loss")]
        told.append(
            f"{images}, {learner}: beat random by more than two standard errors: {_list(by['win'])}. "
            f"Did not beat random: {_list(rest)}. Worse than random by more than two standard errors: "
            f"{_list(by['loss'])}."
        )
    return told


def page(comparison: Comparison) -> str:
    """The whole page in Markdown."""
    size = PRESETS[comparison.preset]
    parts = [
        "# Every strategy against random",
        f"Made by `foresift study strategies --preset {comparison.preset}`. Labels in all after each round: "
        f"{', '.join(f'{b:,}' for b in comparison.budgets)}; {size.seeds} seeds. Embeddings: SimCLR, {size.backbone}, "
        f"{size.epochs} epochs on the pool's own images, no label. `head`: multinomial logistic regression on these "
        f"embeddings; `cnn`: {size.cnn} from scratch in each round. Accuracy on the test part in percent, mean and "
        "standard deviation over seeds; *gain*: mean over the rounds against random with the same seed, plus or minus "
        "two standard errors. Each seed has a pool of its own, nine tenths of the images. With three seeds the "
        "standard error itself is uncertain by half, and about one strategy in six passes two of them, up or down, by "
        "chance alone: read the gains as a tendency. *start* `random`: the strategy needs a trained "
        "model, so its first batch is random's and that round's share of its gain is 0: read the rounds where it is "
        "compared with one that starts on its own. Seconds are those of the largest selection.",
        "![gain over random](strategies.png)",
        *("- " + sentence for sentence in verdicts(comparison)),
    ]
    parts += [_section(comparison, images, learner) for images, learner in groups(comparison)]
    return "\n\n".join(_tight(parts)) + "\n"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the page and the picture; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    text = page(comparison)
    write_atomically(folder / PAGE, lambda target: _write_text(target, text))
    picture(comparison, folder / PICTURE)
    return [folder / PAGE, folder / PICTURE]


def picture(comparison: Comparison, path: Path) -> None:
    """Write gain over random with its interval, one panel an image set and learner."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = groups(comparison)
    tallest = max(len(rows_of(comparison, *group)) for group in shown)
    figure = Figure(figsize=(4.2 * len(shown), 1.6 + 0.24 * tallest), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, (images, learner) in zip(panels, shown, strict=True):
        _panel(panel, rows_of(comparison, images, learner), f"{images}, {learner}")
    write_atomically(path, lambda target: figure.savefig(target, format="png", metadata={"Software": None}))


def _panel(panel: Any, rows: Sequence[Row], title: str) -> None:
    others = [row for row in rows if row.strategy != RANDOM][::-1]
    colours = {"win": _BEAT, "loss": _WORSE}
    for height, row in enumerate(others):
        colour = colours.get(row.pair.outcome, _OPEN)
        panel.errorbar(row.gain, height, xerr=row.reach, fmt="o", color=colour, markersize=4, linewidth=1)
    panel.axvline(0, color="#1c1c1c", linewidth=0.8)
    panel.set_yticks(range(len(others)), [row.strategy for row in others], fontsize=8)
    panel.set_xlabel("gain over random (pp), ± 2 s.e.", fontsize=9)
    panel.set_title(title, fontsize=10)


def _section(comparison: Comparison, images: str, learner: str) -> str:
    budgets = comparison.budgets
    head = ["strategy", *(f"{b:,}" for b in budgets), "gain (pp)", "start", "seconds"]
    lines = [
        f"## {images}, {learner}",
        f"20 nearest neighbours of the embeddings agree on the class for {100 * comparison.neighbours[images]:.1f} % "
        "of the images.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(_line(row, len(budgets))) + " |" for row in rows_of(comparison, images, learner)),
    ]
    refused = refusals(comparison, images, learner)
    lines += ["", *(f"- `{name}` gave no result: {why}" for name, why in refused.items())] if refused else []
    return "\n".join(lines)


def _line(row: Row, rounds: int) -> list[str]:
    spread = "" if row.strategy == RANDOM else f"{row.gain:+.2f} ± {row.reach:.2f}"
    name = row.cells[0].spelling or row.strategy
    star = " (approximate)" if any(cell.approx for cell in row.cells) else ""
    return [
        f"`{name}`{star}",
        *(_accuracy(cell.accuracy[at] for cell in row.cells) for at in range(rounds)),
        spread,
        row.cells[0].cold or "own",
        f"{max(max(cell.seconds) for cell in row.cells):.1f}",
    ]


def _accuracy(values: Iterable[float]) -> str:
    every = tuple(values)
    spread = deviation(every)
    return f"{100 * fmean(every):.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")


def _area(cell: Cell) -> float:
    return fmean(cell.accuracy) if cell.accuracy else math.nan


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _tight(parts: Sequence[str]) -> list[str]:
    """List items follow each other without an empty line."""
    joined: list[str] = []
    for part in parts:
        if joined and part.startswith("- ") and joined[-1].startswith("- "):
            joined[-1] += "\n" + part
        else:
            joined.append(part)
    return joined


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
