"""The study of ensembles as a page and a picture: the source's numbers beside ours, a verdict for each claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from foresift.stores.files import write_atomically, write_text
from foresift.studies.ensembles.presets import PRESETS, Setting
from foresift.studies.ensembles.study import OUTLIERS, RANDOM, SCORE, SCORES, Cell, Comparison
from foresift.studies.paired import CLEAR, Paired, accuracy_text

PAGE, PICTURE = "ensembles.md", "ensembles.png"
SOURCE = "Chitta et al. 2019"
PAPER_TRANSFER = (
    "80 % found by ResNet-18 against random 80 %, five targets on ImageNet: +1.10, +.61, +1.03, +1.03, +.83; "
    "against everything: +.22, -.07, -.12, -.24, +.12"
)
PAPER_OUTLIERS = (
    "0, 5 and 12.5 % on CIFAR-10: 95.77, 94.85, 93.81 (hurts); CIFAR-100: 75.89, 76.76, 76.41 (helps); build-up on "
    "ImageNet: 70.34, 70.09 (hurts)"
)
PAPER_CONSENSUS = "ResNet-18 on 768,000 ImageNet images: pairs about 58 %, all 20 checkpoints 11.7 %"
COLOURS = {"build-up": "#0072B2", RANDOM: "#C15700", "compress": "#009E73", "pretrain": "#888888"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One claim of the source and what became of it here."""

    images: str
    claim: str
    pair: Paired | None
    """What the claim puts first, and what it puts second; None where nothing is compared."""
    found: str = ""

    @property
    def outcome(self) -> str:
        """``holds``, ``does not hold`` (beyond two standard errors), or ``undecided``."""
        if self.pair is None:
            return self.found.partition(":")[0]
        return {"win": "holds", "loss": "does not hold"}.get(self.pair.outcome, "undecided")

    def sentence(self) -> str:
        """The claim, the outcome, by how much."""
        if self.pair is None:
            return f"{self.images}: *{self.claim}*: {self.found}."
        return f"{self.images}: *{self.claim}*: **{self.outcome}**, {_gain(self.pair)}."


def verdicts(comparison: Comparison) -> list[Verdict]:
    """Every claim on every image set, those that do not hold as plainly as those that do."""
    return [verdict for images in sets(comparison) for verdict in _verdicts(comparison, images)]


def sets(comparison: Comparison) -> list[str]:
    """Image sets in the order in which they ran."""
    return list(dict.fromkeys(cell.images for cell in comparison.cells))


def _verdicts(comparison: Comparison, images: str) -> Iterable[Verdict]:
    sizes = comparison.of(images, f"build-up {SCORE}")[0].sizes
    random, grown = (comparison.of(images, f"build-up {name}") for name in (RANDOM, SCORE))
    for at, size in enumerate(sizes):
        yield Verdict(images=images, claim=f"build-up beats random at {size:,} samples", pair=_pair(grown, random, at))
    compress = comparison.of(images, "compress")
    yield Verdict(
        images=images,
        claim=f"build-up beats compress where the part is small ({sizes[0]:,})",
        pair=_pair(grown, compress, 0),
    )
    yield Verdict(
        images=images,
        claim="disagreement (J, V) serves at least as well as doubt and errors (H, E)",
        pair=_disagreement(comparison, images),
    )
    yield Verdict(
        images=images,
        claim="several runs choose better than one, by one model alone",
        pair=Paired(
            chosen=tuple(cell.alone[-1] for cell in grown),
            random=tuple(cell.alone[-1] for cell in comparison.of(images, "build-up one-run")),
        ),
    )
    yield Verdict(
        images=images,
        claim="combined checkpoints answer better than one",
        pair=Paired(
            chosen=tuple(_counted(cell, -1) for cell in comparison.of(images, "consensus")),
            random=tuple(_counted(cell, 0) for cell in comparison.of(images, "consensus")),
        ),
    )
    yield _consensus_verdict(comparison, images)
    plain, most = (comparison.of(images, f"outliers {share:g}") for share in (OUTLIERS[0], OUTLIERS[-1]))
    yield Verdict(images=images, claim="passing over the 12.5 % largest scores hurts", pair=_pair(plain, most, -1))
    for target in _setting(comparison, images).targets:
        cells = comparison.of(images, f"transfer {target}")
        pair = Paired(
            chosen=tuple(cell.counts["found"] for cell in cells), random=tuple(cell.counts["random"] for cell in cells)
        )
        yield Verdict(images=images, claim=f"what was found serves {target} better than random", pair=pair)


def _disagreement(comparison: Comparison, images: str) -> Paired:
    doubt, joint, votes, errors = (comparison.of(images, f"build-up {score}") for score in SCORES)
    mean = [
        tuple(fmean((a.together[-1], b.together[-1])) for a, b in zip(one, two, strict=True))
        for one, two in ((joint, votes), (doubt, errors))
    ]
    return Paired(chosen=mean[0], random=mean[1])


def _consensus_verdict(comparison: Comparison, images: str) -> Verdict:
    cells = comparison.of(images, "consensus")
    all_agree = [cell.counts["joint"][-1] / cell.counts["of"] for cell in cells]
    pairs = [fmean(cell.counts["pairs"]) / cell.counts["of"] for cell in cells]
    below = all(joint < pair for joint, pair in zip(all_agree, pairs, strict=True))
    found = (
        f"{'holds' if below else 'does not hold'}: of the samples not learned from, {len(cells[0].counts['joint'])} "
        f"checkpoints agree on {accuracy_text(tuple(all_agree))}, two in a row on {accuracy_text(tuple(pairs))}"
    )
    return Verdict(images=images, claim="all checkpoints agree less often than two in a row", pair=None, found=found)


def page(comparison: Comparison) -> str:
    """The whole page in Markdown."""
    parts = [
        "# Ensembles of checkpoints and the search for a training set",
        f"Made by `foresift study ensembles --preset {comparison.preset}`: the shape of {SOURCE}, Tables 1 to 5 and "
        "Figures 1 and 2. Accuracy on the test part in percent, mean and standard deviation over trials. Within a "
        "trial everything is paired: the same random start, first weights and schedule. A verdict holds where the "
        "paired difference exceeds two standard errors; with this few trials the standard error itself is "
        "uncertain, so read *undecided* as no evidence either way. Accuracies of members together (Tables 1, 2, 5) and "
        "of single models (Tables 3, 4) are not comparable.",
        f"![accuracy by scheme, agreement of checkpoints]({PICTURE})",
        "## Verdicts",
        "\n".join("- " + verdict.sentence() for verdict in verdicts(comparison)),
    ]
    for images in sets(comparison):
        parts += _section(comparison, images)
    return "\n\n".join(parts) + "\n"


def _section(comparison: Comparison, images: str) -> list[str]:
    setting = _setting(comparison, images)
    sizes = comparison.of(images, f"build-up {SCORE}")[0].sizes
    trials = len(comparison.of(images, f"build-up {SCORE}"))
    full = tuple(cell.counts["full"]["together"] for cell in comparison.of(images, "compress"))
    head = [f"{size:,}" for size in sizes]
    return [
        f"## {images}",
        f"{setting.model}; members: the last {setting.last} epochs of {setting.runs} runs; {trials} trials. "
        f"Members that learned from everything: {accuracy_text(full)}.",
        "Table 1, build-up by score, members together (error-count reads the labels of what it ranks):",
        _table(["score", *head, "gain at the largest"], _score_rows(comparison, images)),
        "Table 2, who ranks and answers (build-up), members together:",
        _table(
            ["members", *head],
            [
                ["all runs", *_together(comparison.of(images, f"build-up {SCORE}"))],
                ["one run", *_together(comparison.of(images, "build-up one-run"))],
            ],
        ),
        "How many answer, after learning from the middle size:",
        _table(["members", "accuracy"], _answer_rows(comparison, images)),
        "Table 3, one model alone:",
        _table(
            ["chosen by", *head],
            [[name, *_alone(comparison.of(images, kind))] for name, kind in _single_kinds()],
        ),
        f"Table 4, other architectures on the {sizes[-1]:,} samples that {setting.model} found, one model alone "
        f"({SOURCE}: {PAPER_TRANSFER}):",
        _table(["model", "random", "found", "everything", "gain", "to everything"], _transfer_rows(comparison, images)),
        f"Table 5, the largest scores passed over (compress, largest size) ({SOURCE}: {PAPER_OUTLIERS}):",
        _table(
            ["passed over", "accuracy"],
            [[f"{100 * share:g} %", *_together(comparison.of(images, f"outliers {share:g}"))] for share in OUTLIERS],
        ),
        f"Figure 2, agreement: {SOURCE}: {PAPER_CONSENSUS}. Here: {_consensus_verdict(comparison, images).found}.",
    ]


def _single_kinds() -> list[tuple[str, str]]:
    return [(name, f"build-up {name}") for name in (RANDOM, SCORE)] + [
        (kind, kind) for kind in ("compress", "pretrain")
    ]


def _score_rows(comparison: Comparison, images: str) -> list[list[str]]:
    baseline = comparison.of(images, f"build-up {RANDOM}")
    rows = []
    for score in (RANDOM, *SCORES):
        cells = comparison.of(images, f"build-up {score}")
        rows.append([score, *_together(cells), "" if score == RANDOM else _gain(_pair(cells, baseline, -1))])
    return rows


def _answer_rows(comparison: Comparison, images: str) -> list[list[str]]:
    cells = comparison.of(images, "consensus")
    return [
        [name, accuracy_text(tuple(cell.counts["accuracy"][name] for cell in cells))]
        for name in cells[0].counts["accuracy"]
    ]


def _transfer_rows(comparison: Comparison, images: str) -> list[list[str]]:
    rows = []
    for target in _setting(comparison, images).targets:
        cells = comparison.of(images, f"transfer {target}")
        by = {name: tuple(cell.counts[name] for cell in cells) for name in ("random", "found", "full")}
        gain, gap = (Paired(chosen=by["found"], random=by[name]) for name in ("random", "full"))
        rows.append([target, *(accuracy_text(values) for values in by.values()), _gain(gain), _gain(gap)])
    return rows


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the page and the picture; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PAGE, page(comparison))
    picture(comparison, folder / PICTURE)
    return [folder / PAGE, folder / PICTURE]


def picture(comparison: Comparison, path: Path) -> None:
    """Write accuracy by scheme and size, and agreement by number of checkpoints; a row an image set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = sets(comparison)
    figure = Figure(figsize=(9, 3.4 * len(shown)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), 2, squeeze=False)
    for (schemes, agreement), images in zip(panels, shown, strict=True):
        _draw_schemes(schemes, comparison, images)
        _draw_agreement(agreement, comparison, images)
    write_atomically(path, lambda target: figure.savefig(target, format="png", metadata={"Software": None}))


def _draw_schemes(panel: Any, comparison: Comparison, images: str) -> None:
    styles = {"build-up": "o-", RANDOM: "s--", "compress": "^-.", "pretrain": "v:"}
    kinds = {
        "build-up": f"build-up {SCORE}",
        RANDOM: f"build-up {RANDOM}",
        "compress": "compress",
        "pretrain": "pretrain",
    }
    for name, kind in kinds.items():
        cells = comparison.of(images, kind)
        values = 100 * np.array([cell.together for cell in cells])
        spread = values.std(axis=0, ddof=1) if len(cells) > 1 else None
        panel.errorbar(
            cells[0].sizes, values.mean(axis=0), yerr=spread, fmt=styles[name], color=COLOURS[name], label=name,
            markersize=4, linewidth=1, capsize=2,
        )  # fmt: skip
    panel.set_xscale("log", base=2)
    panel.set_xticks(cells[0].sizes, [f"{size:,}" for size in cells[0].sizes])
    panel.minorticks_off()
    panel.set_xlabel("samples", fontsize=9)
    panel.set_ylabel("test accuracy (%), members together", fontsize=9)
    panel.set_title(f"{images}: schemes", fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def _draw_agreement(panel: Any, comparison: Comparison, images: str) -> None:
    cells = comparison.of(images, "consensus")
    joint = 100 * np.array([[count / cell.counts["of"] for count in cell.counts["joint"]] for cell in cells])
    pairs = 100 * np.array([[count / cell.counts["of"] for count in cell.counts["pairs"]] for cell in cells])
    numbers = np.arange(1, joint.shape[1] + 1)
    panel.plot(numbers[1:], pairs.mean(axis=0), "s--", color=COLOURS[RANDOM], label="two in a row", markersize=3)
    panel.plot(
        numbers[1:], joint.mean(axis=0)[1:], "o-", color=COLOURS["build-up"], label="all of the last", markersize=3
    )
    panel.set_xticks(numbers[1::2])
    panel.set_xlabel("last checkpoints of one run", fontsize=9)
    panel.set_ylabel("samples on which they agree (%)", fontsize=9)
    panel.set_title(f"{images}: agreement on what was not learned from", fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def _setting(comparison: Comparison, images: str) -> Setting:
    return PRESETS[comparison.preset].sets[images]


def _pair(first: Sequence[Cell], second: Sequence[Cell], at: int) -> Paired:
    return Paired(chosen=tuple(cell.together[at] for cell in first), random=tuple(cell.together[at] for cell in second))


def _counted(cell: Cell, at: int) -> float:
    return float(list(cell.counts["accuracy"].values())[at])


def _gain(pair: Paired) -> str:
    error = pair.standard_error
    reach = "" if error is None else f" ± {100 * CLEAR * error:.2f}"
    won = f"ahead in {pair.won} of {len(pair.differences)}"
    return f"{100 * fmean(pair.differences):+.2f}{reach} pp (2 s.e.), {won}"


def _together(cells: Sequence[Cell]) -> list[str]:
    return [accuracy_text(tuple(cell.together[at] for cell in cells)) for at in range(len(cells[0].together))]


def _alone(cells: Sequence[Cell]) -> list[str]:
    return [accuracy_text(tuple(cell.alone[at] for cell in cells)) for at in range(len(cells[0].alone))]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
