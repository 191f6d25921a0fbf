"""A study of masks as a page and a picture; what did not beat random is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from foresift.stores.files import write_atomically, write_text
from foresift.studies.masks.rounds import Cell, Size
from foresift.studies.paired import Paired, deviation

_COLOURS = {"win": "#0072B2", "loss": "#C15700"}
_OPEN = "#888888"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All cells of a study of masks."""

    study: str
    title: str
    preset: str
    size: Size
    baseline: str
    """The arm that the others are compared with."""
    arms: tuple[str, ...]
    cells: tuple[Cell, ...]
    measure: str
    """What ``measured`` of a cell is; "" = nothing."""
    seconds: float

    def of(self, arm: str) -> tuple[Cell, ...]:
        """The cells of an arm that have a result, by seed."""
        return tuple(cell for cell in self.cells if cell.arm == arm and not cell.refused)

    def gain(self, arm: str) -> Paired | None:
        """The last mIoU of an arm against the baseline's, seed by seed; None where no model was trained after."""
        base = {cell.seed: cell for cell in self.of(self.baseline)}
        pairs = [(cell, base[cell.seed]) for cell in self.of(arm) if cell.seed in base and len(cell.miou) > 1]
        if not pairs or arm == self.baseline:
            return None
        return Paired(chosen=tuple(a.miou[-1] for a, _ in pairs), random=tuple(b.miou[-1] for _, b in pairs))


def verdicts(comparison: Comparison) -> list[str]:
    """What the figures say of every arm, a defeat as plainly as a win."""
    return [sentence for arm in comparison.arms for sentence in _verdict(comparison, arm)]


def page(comparison: Comparison) -> str:
    """The whole page in Markdown."""
    size, first = comparison.size, comparison.cells[0]
    pool = size.pool or "nine tenths of the training split"
    said = [
        f"# {comparison.title}",
        f"Made by `foresift study {comparison.study} --preset {comparison.preset}`: {size.model} from scratch, "
        f"{size.steps} steps of {size.batch_size} images, whatever is labeled; pool: {pool} images, another one for "
        f"each of {size.seeds} seeds; {size.start} images at random first, then {size.step} images, or patches "
        f"of as many pixels, in each of {size.rounds} rounds. mIoU on the test split in percent, mean and standard "
        "deviation over seeds; gain against the baseline with the same seed, plus or minus two standard errors. With "
        "three seeds the standard error itself is uncertain by half: read the gains as a tendency.",
        "\n".join(_table(comparison, len(first.miou))),
        "\n".join(f"- {sentence}" for sentence in verdicts(comparison)),
    ]
    refused = {cell.arm: cell.refused for cell in comparison.cells if cell.refused}
    said += ["\n".join(f"- `{arm}` gave no result: {why}" for arm, why in refused.items())] if refused else []
    return "\n\n".join(said) + "\n"


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the page and, where models were trained, the picture; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    text, drawn = folder / f"{comparison.study}.md", folder / f"{comparison.study}.png"
    write_text(text, page(comparison))
    if not any(comparison.gain(arm) for arm in comparison.arms):
        return [text]
    picture(comparison, drawn)
    return [text, drawn]


def picture(comparison: Comparison, path: Path) -> None:
    """Write the gain of every arm over the baseline with its interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    gains = [(arm, pair) for arm in comparison.arms if (pair := comparison.gain(arm))][::-1]
    figure = Figure(figsize=(6, 1.4 + 0.3 * len(gains)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for height, (_, pair) in enumerate(gains):
        reach = 200 * (pair.standard_error or 0.0)
        colour = _COLOURS.get(pair.outcome, _OPEN)
        panel.errorbar(100 * fmean(pair.differences), height, xerr=reach, fmt="o", color=colour, markersize=5)
    panel.axvline(0, color="#1c1c1c", linewidth=0.8)
    panel.set_yticks(range(len(gains)), [arm for arm, _ in gains], fontsize=9)
    panel.set_xlabel(f"gain in mIoU over {comparison.baseline} (pp), ± 2 s.e.", fontsize=9)
    write_atomically(path, lambda target: figure.savefig(target, format="png", metadata={"Software": None}))


def _table(comparison: Comparison, models: int) -> list[str]:
    rounds = comparison.size.rounds
    head = ["arm", "images", *(f"mIoU {at}" for at in range(models)), "gain (pp)"]
    head += [f"recall {at}" for at in range(1, rounds + 1)] if comparison.measure else []
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = [(arm, cells) for arm in comparison.arms if (cells := comparison.of(arm))]
    return [*lines, *("| " + " | ".join(_line(comparison, arm, cells, models)) + " |" for arm, cells in rows)]


def _line(comparison: Comparison, arm: str, cells: Sequence[Cell], models: int) -> list[str]:
    pair = comparison.gain(arm)
    gain = "" if pair is None else f"{100 * fmean(pair.differences):+.1f} ± {200 * (pair.standard_error or 0.0):.1f}"
    told = [f"`{arm}`", f"{fmean(cell.images[-1] for cell in cells):.0f}"]
    told += [_percent([cell.miou[at] for cell in cells]) for at in range(models)] + [gain]
    rounds = range(comparison.size.rounds) if comparison.measure else ()
    return told + [_percent([cell.measured[at] for cell in cells]) for at in rounds]


def _verdict(comparison: Comparison, arm: str) -> list[str]:
    cells = comparison.of(arm)
    if not cells:
        return []
    told = []
    if (pair := comparison.gain(arm)) is not None:
        found = f"{100 * fmean(pair.differences):+.1f} pp of mIoU, ahead in {pair.won} of {len(pair.chosen)} seeds"
        by = {"win": "beat", "loss": "did worse than", "tie": "did not beat", "undecided": "was tried once against"}
        told.append(f"{arm} {by[pair.outcome]} {comparison.baseline}: {found}.")
    if comparison.measure:
        first = _percent([cell.measured[0] for cell in cells])
        told.append(f"{arm}: {first} % {comparison.measure} (first round).")
    return told


def _percent(values: Sequence[float]) -> str:
    spread = deviation(tuple(values))
    return f"{100 * fmean(values):.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")
