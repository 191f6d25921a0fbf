"""The paper's Table 2: from JPEG files or URLs to ids, least confidence, ResNet-18, by us, a bare loop and three peers.

``python -m benchmarks.table2 [files|urls] [--side 32 224] [--images N] [--out FILE]``

Files: a fixed ResNet-18 (timm's, random weights: 1.8 G multiply-adds an image at 224 px, 0.037 G at 32 px) chooses
among 40,000 CIFAR-10 files at 32 px and 4,000 at 224 px. First the bare loop and Foresift take some of the files at
batches of 1 to 64, as in the paper's Figure 4c; then every tool takes all of them, the peers at the best batch of the
bare loop and Foresift at its own. Each tool runs in a process of its own, with its own environment's Python
(``FORESIFT_PEERS``), once in each pass; the fastest counts. What is timed runs from a list of files to ids, with
everything imported and a few files gone through before (``benchmarks/peers/table2``, a script a tool). Foresift must be
at least 0.9 times as fast as the bare loop, and every tool must choose the same ids.

URLs: the same network and a server that takes 20 ms for each file (``benchmarks.remote``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import remote
from benchmarks.data import cifar10
from benchmarks.measure import Figure, at_least, at_most
from benchmarks.strategies import environment

HERE = Path(__file__).parent / "peers" / "table2"
OURS, BARE, PEERS = "foresift", "bare", ("modal", "skactiveml", "baal")
TORCH_OF = "baal"
"""The peer whose environment has torch and Pillow; the others look there, behind their own packages."""
IMAGES = {32: 40_000, 224: 4_000}
SOME = {32: 4_096, 224: 448}
"""Files that are gone through at every batch: whole batches of 64, since Foresift fills the last one up."""
BATCHES = (1, 2, 4, 8, 16, 32, 64)
USUAL = 32
"""The batch of all tools but ours, where the bare loop was not asked at others."""
TIMES, SHARED = 0.9, 0.99
"""Limits: our rate over that of the bare loop; ids in common, where float32 may round a near tie either way."""
DELAYED = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One run of one tool."""

    seconds: dict[int, float]
    """By batch."""
    ways: dict[int, str]
    """The way that was fastest, by batch."""
    peak_bytes: int
    rows: frozenset[int]

    @property
    def fastest_s(self) -> float:
        """At the best batch."""
        return min(self.seconds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to measure."""

    side: int
    images: int
    some: int
    budget: int
    passes: int
    tools: tuple[str, ...]

    @property
    def head(self) -> str:
        """Begins every line."""
        return f"{self.images:,} files, {self.side} px"


def files_to_ids(asked: Asked, data: Path, work: Path) -> Iterator[str | Figure]:
    """Lines of the two tables, and the figures that have limits."""
    files = spread(data, asked.images)
    some = question(work / "some", files[:: max(1, len(files) // asked.some)][: asked.some])
    every = question(work / "all", files)
    best = USUAL
    if {OURS, BARE} <= set(asked.tools):
        bare, ours = (run(tool, some, asked, BATCHES) for tool in (BARE, OURS))
        yield from by_batch(asked, bare, ours)
        best = min(bare.seconds, key=bare.seconds.__getitem__)
    answers, broken = in_turns(every, asked, best)
    yield from side_by_side(asked, answers, best)
    yield from broken


def in_turns(folder: Path, asked: Asked, batch: int) -> tuple[dict[str, Answer], list[Figure]]:
    """The fastest answer of every tool, and the peers that broke, which are left out."""
    answers: dict[str, Answer] = {}
    broken: dict[str, Figure] = {}
    for tool in asked.tools * asked.passes:
        try:
            got = broken.get(tool) or run(tool, folder, asked, (0 if tool == OURS else batch,))
        except subprocess.CalledProcessError as error:
            if tool not in PEERS:
                raise
            got = broken[tool] = at_most(f"{tool} broke: exit code", abs(error.returncode), "", 0)
        if isinstance(got, Answer) and (tool not in answers or got.fastest_s < answers[tool].fastest_s):
            answers[tool] = got
    return answers, list(broken.values())


def by_batch(asked: Asked, bare: Answer, ours: Answer) -> Iterator[str]:
    """The rows of the paper's Figure 4c."""
    yield f"\n{asked.some:,} files, {asked.side} px, images/s by batch\n"
    yield "| batch | bare loop | its decoding | Foresift | Foresift over bare loop |"
    yield "|---|---|---|---|---|"
    for batch in BATCHES:
        loop, we = (asked.some / one.seconds[batch] for one in (bare, ours))
        yield f"| {batch} | {loop:,.1f} | {_words(bare.ways[batch])} | {we:,.1f} | {we / loop:.2f} |"


def side_by_side(asked: Asked, answers: dict[str, Answer], batch: int) -> Iterator[str | Figure]:
    """The rows of the paper's Table 2."""
    rates = {tool: asked.images / got.fastest_s for tool, got in answers.items()}
    reference = answers[next(tool for tool in (BARE, OURS, *answers) if tool in answers)].rows
    shared = {tool: len(got.rows & reference) / asked.budget for tool, got in answers.items()}
    yield f"\n{asked.head}, {asked.budget:,} chosen, batch {batch} (Foresift: its own)\n"
    yield "| tool | images/s | times bare loop | peak memory | ids in common |"
    yield "|---|---|---|---|---|"
    for tool, rate in rates.items():
        times = f"{rate / rates[BARE]:.2f}" if BARE in rates else ""
        memory = f"{answers[tool].peak_bytes / 2**30:.2f} GiB"
        yield f"| {_words(tool)} | {rate:,.1f} | {times} | {memory} | {shared[tool]:.3f} |"
    yield ""
    if {OURS, BARE} <= set(rates):
        yield at_least(f"{asked.head}: Foresift over the bare loop", rates[OURS] / rates[BARE], "x", TIMES)
    yield at_least(f"{asked.head}: ids in common, the least of all tools", min(shared.values()), "", SHARED)


def spread(data: Path, images: int) -> list[str]:
    """The first files of every class, as many of each."""
    kinds = [sorted(map(str, kind.iterdir())) for kind in sorted(data.iterdir()) if kind.is_dir()]
    return sorted(file for kind in kinds for file in kind[: -(-images // len(kinds))])[:images]


def question(folder: Path, files: Sequence[str]) -> Path:
    """What the scripts read."""
    import torch

    from foresift.models import build

    folder.mkdir(parents=True)
    (folder / "files.txt").write_text("\n".join(files))
    torch.save(build("resnet18", classes=10, image_size=32, seed=0).state_dict(), folder / "network.pt")
    return folder


def run(tool: str, folder: Path, asked: Asked, batches: Sequence[int]) -> Answer:
    """One process."""
    budget = min(asked.budget, len((folder / "files.txt").read_text().splitlines()) // 2)
    words = [str(HERE / f"run_{tool}.py"), str(folder), str(asked.side), str(budget), ",".join(map(str, batches))]
    python = str(environment(tool)) if tool in PEERS else sys.executable
    told = subprocess.run([python, *words], env=_variables(tool), stdout=subprocess.PIPE, text=True, check=True)
    said = json.loads(told.stdout.strip().splitlines()[-1])
    rows = np.load(folder / f"picks-{tool}.npy").tolist()
    by = {key: {int(batch): value for batch, value in said[key].items()} for key in ("seconds", "ways")}
    return Answer(**by, peak_bytes=said["peak_bytes"], rows=frozenset(rows))


def _variables(tool: str) -> dict[str, str]:
    """A peer knows nothing of our packages; torch it may find in another peer's environment."""
    if tool not in PEERS:
        return dict(os.environ)
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([environment(TORCH_OF), "-c", place], capture_output=True, text=True, check=True, env=own)
    return {**own, "TABLE2_TORCH": found.stdout.strip()}


def _words(name: str) -> str:
    return name.replace("_", " ")


def urls_to_ids(side: int, images: int, data: Path) -> Iterator[Figure]:
    """Downloads and inference at once, against the longer of the two."""
    os.environ["FORESIFT_CIFAR10"] = str(data.parent)
    with tempfile.TemporaryDirectory() as folder:
        yield from remote.measure(images, side, "torch-f32", Path(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, and write them where ``--out`` says; 1 if a limit was missed."""
    asked = _parser().parse_args(arguments)
    if unknown := set(asked.tools) - {OURS, BARE, *PEERS}:
        raise SystemExit(f"no tool {min(unknown)!r}; there are {', '.join((BARE, OURS, *PEERS))}")
    lines: list[str] = []
    missed = 0
    base = os.environ.get("FORESIFT_BENCH")
    with tempfile.TemporaryDirectory(prefix="foresift-table2-") as folder:
        data = cifar10(Path(base or folder)) / "train"
        for line in _lines(asked, data, Path(folder)):
            missed += isinstance(line, Figure) and line.fine is False
            lines.append(str(line))
            print(line, flush=True)
    if asked.out is not None:
        asked.out.write_text("\n".join(lines) + "\n")
    return int(missed > 0)


def _lines(asked: argparse.Namespace, data: Path, work: Path) -> Iterator[str | Figure]:
    for side in asked.side:
        images = asked.images or IMAGES.get(side, 4_000)
        some = min(images, asked.some or SOME.get(side, 448))
        if asked.part in (None, "files"):
            budget = min(asked.budget, images // 2)
            one = Asked(
                side=side, images=images, some=some, budget=budget, passes=asked.passes, tools=tuple(asked.tools)
            )
            yield from files_to_ids(one, data, work / str(side))
        if asked.part in (None, "urls"):
            yield from urls_to_ids(side, min(images, asked.delayed), data)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["files", "urls"], help="one of the two; without it both")
    parser.add_argument("--side", type=int, nargs="+", default=[32, 224], help="pixels")
    parser.add_argument("--images", type=int, default=0, help="files for the table (40,000 at 32 px, 4,000 at 224 px)")
    parser.add_argument("--some", type=int, default=0, help="files at every batch (4,096 at 32 px, 448 at 224 px)")
    parser.add_argument("--delayed", type=int, default=DELAYED, help="files behind the slow server")
    parser.add_argument("--budget", type=int, default=1_000)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--tools", nargs="+", default=[BARE, OURS, *PEERS])
    parser.add_argument("--out", type=Path, default=None, help="Markdown")
    return parser


if __name__ == "__main__":
    sys.exit(main())
