"""The page of the demo: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from foresift.stores.files import write_text
from foresift.studies.demo.gallery import Shown
from foresift.studies.demo.pictures import contact_sheet, enlarged, learning_curve, png_bytes, says
from foresift.studies.demo.study import CHOSEN, RANDOM, ROLES, Results
from foresift.studies.paired import accuracy_text, difference_text, verdict

LEGEND = (
    "Mean ± standard deviation over the seeds. Differences are chosen minus random, seed by seed, in percentage "
    "points (pp). Clear: the mean difference is more than twice its standard error."
)
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fdfdfb; --soft: #5a5a5a; --line: #d6d6d0; --box: #f1f1ec; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e4; --paper: #1a1b1d; --soft: #a8a8a2; --line: #45464a; --box: #26272a; }
}
body { font: 17px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.8rem; line-height: 1.25; margin-bottom: .4rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
p, li { max-width: 46rem; }
.verdict { border-left: 4px solid var(--ink); padding: .2rem 0 .2rem 1rem; font-size: 1.1rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .92rem; text-align: left; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
caption { caption-side: bottom; padding-top: .5rem; white-space: normal; }
.wide { overflow-x: auto; }
figure { margin: 0; }
figure.curve img { width: 100%; box-sizing: border-box; padding: .6rem; background: #fff; border-radius: 4px; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: 1rem;
  margin: .6rem 0 1.4rem; }
.sheet img { width: 100%; image-rendering: pixelated; border: 1px solid var(--line); display: block; }
.sheet b { font-weight: 600; }
.line { display: flex; flex-wrap: wrap; align-items: stretch; gap: .6rem; list-style: none; padding: 0; }
.line li { background: var(--box); border-radius: 6px; padding: .6rem .9rem; flex: 1 1 11rem; }
.line li.arrow { background: none; flex: 0 0 auto; align-self: center; padding: 0; font-size: 1.4rem; }
pre { background: var(--box); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .9rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
"""


def table_rows(results: Results) -> list[dict[str, str]]:
    """Rows of the table, by model and size; means and standard deviations over the seeds."""
    return [_row(results, role, size) for role in ROLES for size in results.sizes]


def verdicts(results: Results) -> list[str]:
    """A sentence on each model at the final size; the heir's, which is what the demo is about, first."""
    size = results.sizes[-1]
    return [
        verdict(
            results.paired(role, size),
            strategy=results.strategy,
            learner=f"{role} ({results.models[role]['architecture']})",
            labels=size,
        )
        for role in reversed(ROLES)
    ]


def summary(results: Results) -> str:
    """Three sentences on what was done."""
    p = results.protocol
    first, second = (_model(results, role) for role in ROLES)
    return (
        f"From a pool of {results.pool:,} image files of handwritten digits, generation 1 ({first}) chose "
        f"{p.budget} images a round by {results.strategy}, {p.rounds - 1} times, starting from {p.budget} random "
        "labels and trained from scratch before each choice. "
        f"Generation 2 ({second}) was then trained from scratch on the labels it inherited. "
        f"Both were compared with the same models on random data of the same size, over {_seeds(results)} "
        f"with the same starting labels and initial weights in both arms, on {results.test:,} test images that "
        "were never chosen from."
    )


def caution(results: Results) -> str:
    """How little this many seeds say, and how fine the test set measures."""
    return (
        f"{_seeds(results).capitalize()} on one small data set show the idea; they prove nothing about your images. "
        f"One test image is {100 / results.test:.2f} percentage points."
    )


def write_all(results: Results, folder: Path, *, home: Path | None = None) -> list[Path]:
    """Write the pictures and the page into the demo's folder; gives every file worth opening.

    Args:
        home: the workspace, if it lies elsewhere than in ``folder``.
    """
    curve, sheet, report = (folder / name for name in ("curve.png", "contact-sheet.png", "report.html"))
    learning_curve(results, curve)
    contact_sheet(results, folder, sheet)
    write_text(report, page(results, folder, commands=reproduce(results, folder, home=home)))
    return [report, curve, sheet, folder / "results.json"]


def page(results: Results, folder: Path, *, commands: Sequence[str]) -> str:
    """The whole page; pictures are inside it, the curve from ``folder/curve.png``.

    Args:
        commands: what to type to get this again.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Foresift demo</title><style>{_STYLE}</style></head><body>",
        "<h1>Data chosen by a small model, inherited by a larger one</h1>",
        f"<p>{_e(summary(results))}</p>",
        *(f'<p class="verdict">{_e(sentence)}</p>' for sentence in verdicts(results)),
        f'<p class="soft">{_e(caution(results))}</p>',
        "<h2>Accuracy on the test images</h2>",
        _table(results),
        "<h2>Learning curve</h2>",
        _curve(folder / "curve.png", results),
        "<h2>What the small model found informative</h2>",
        _gallery(results, folder),
        "<h2>Lineage</h2>",
        _lineage(results),
        "<h2>How it was run</h2>",
        _details(results),
        "<h2>Get this again</h2>",
        f"<pre><code>{_e(chr(10).join(commands))}</code></pre>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def reproduce(results: Results, folder: Path, *, home: Path | None = None) -> list[str]:
    """Commands that repeat the demo, replay the last selection of seed 0 and measure its heir again."""
    p = results.protocol
    numbers = ["--seeds", str(p.seeds), "--rounds", str(p.rounds), "--budget", str(p.budget)]
    receipt = folder / "selections" / f"seed-0-round-{p.rounds}.csv.receipt.json"
    workspace = ["--home", str(home or folder / "home")]
    commands = [
        ["demo", "--out", str(folder), "--strategy", p.strategy, *numbers, *(workspace if home else [])],
        ["replay", str(receipt), *workspace],
        ["evaluate", str(folder / "digits" / "test"), "--model", results.runs[0].inherited[:12], *workspace],
    ]
    return [shlex.join(["foresift", *command]) for command in commands]


def _row(results: Results, role: str, size: int) -> dict[str, str]:
    pair = results.paired(role, size)
    shared = size == results.protocol.budget
    return {
        "model": f"{role}, {results.models[role]['architecture']}",
        "labels": str(size),
        RANDOM: accuracy_text(pair.random),
        CHOSEN: accuracy_text(pair.chosen),
        "difference": "same labels" if shared else difference_text(pair.differences),
        "seeds won": "" if shared else f"{pair.won} of {len(pair.differences)}",
        "clear": "" if shared else {"win": "yes", "loss": "yes, worse"}.get(pair.outcome, "no"),
    }


def _table(results: Results) -> str:
    rows = table_rows(results)
    head = "".join(f'<th scope="col">{_e(name)}</th>' for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row.values()) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table><caption>{_e(LEGEND)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _curve(path: Path, results: Results) -> str:
    said = f"Test accuracy of both models against the number of labels, chosen by {results.strategy} and random"
    note = f"Mean over {_seeds(results)}; bars are one standard deviation. Solid with dots: chosen. Dashed: random."
    return (
        f'<figure class="curve"><img src="{_embedded(path.read_bytes())}" alt="{_e(said)}">'
        f"<figcaption>{_e(note)}</figcaption></figure>"
    )


def _gallery(results: Results, folder: Path) -> str:
    gallery = results.gallery
    labels = results.sizes[-1] - results.protocol.budget
    intro = (
        f"Unlabeled images by their {gallery.score} score, as generation 1 of seed 0 saw them after learning from "
        f"{labels} labels. {gallery.summary.rstrip('.')}; higher is more informative. Under each image: what the "
        "model says, what the image is, and the score."
    )
    halves = (("Most informative", gallery.most), ("Least informative", gallery.least))
    return f"<p>{_e(intro)}</p>" + "".join(
        f'<p><b>{title}</b></p><div class="sheet">{"".join(_cell(one, folder) for one in shown)}</div>'
        for title, shown in halves
    )


def _cell(one: Shown, folder: Path) -> str:
    source = _embedded(png_bytes(enlarged(folder / one.uri, 64)))
    return (
        f'<figure><img src="{source}" alt="{_e(f"digit {one.label}, {one.uri}")}">'
        f"<figcaption>{_e(says(one))}<br>score {one.score:.3f}</figcaption></figure>"
    )


def _lineage(results: Results) -> str:
    run = results.runs[0]
    last = run.turns[-1]
    stations = [
        f"<b>Generation 1</b><br>{_e(_model(results, ROLES[0]))}<br><code>{_e(last.generation[:12])}</code><br>"
        f"made the last choice, having learned from {last.labels} labels",
        f"<b>{results.sizes[-1]} labels</b><br>{results.protocol.budget} random, the others chosen in "
        f"{len(run.turns)} rounds<br>last receipt <code>{_e(last.receipt[:12])}</code>",
        f"<b>Generation 2</b><br>{_e(_model(results, ROLES[1]))}<br><code>{_e(run.inherited[:12])}</code><br>"
        "inherits the labels, not the weights",
    ]
    arrow = '<li class="arrow" aria-hidden="true">→</li>'
    line = arrow.join(f"<li>{station}</li>" for station in stations)
    return f'<p class="soft">Of seed 0.</p><ul class="line">{line}</ul>'


def _details(results: Results) -> str:
    recipe = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in results.protocol.recipe.items())
    through = {path: [str(run.seed) for run in results.runs if run.path == path] for path in ("store", "memory")}
    paths = (
        f"Seed {', '.join(through['store'])}: every selection went through image files, the prediction store and a "
        "receipt on disk, as foresift select does it."
    )
    if through["memory"]:
        paths += (
            f" Seeds {', '.join(through['memory'])}: the same strategy on the same pixels, decoded once and held in "
            "memory. Random selection and training went through the files in every seed."
        )
    facts = {
        "Models": "; ".join(f"{role}: {_model(results, role)}" for role in ROLES)
        + ". Not tuned on these results: the cheapest network with a hidden layer, and one of another family more "
        "than ten times larger. Margin is the default strategy because it had done well with small models in earlier "
        "runs on the same digits.",
        "Recipe": f"{recipe}, otherwise the defaults of foresift train; chosen by the training loss of both "
        "models, after the default optimizer had failed to train the small one.",
        "Seeds": ", ".join(str(run.seed) for run in results.runs),
        "Sizes compared": ", ".join(map(str, results.sizes)) + " labels",
        "Selection": paths,
        "Foresift": results.foresift,
    }
    return "<ul>" + "".join(f"<li><b>{_e(name)}:</b> {_e(text)}</li>" for name, text in facts.items()) + "</ul>"


def _model(results: Results, role: str) -> str:
    model: Mapping[str, Any] = results.models[role]
    return f"{model['architecture']}, {model['parameters']:,} parameters"


def _seeds(results: Results) -> str:
    return f"{len(results.runs)} seed{'s' if len(results.runs) != 1 else ''}"


def _embedded(png: bytes) -> str:
    return "data:image/png;base64," + b64encode(png).decode()


def _e(text: str) -> str:
    return escape(text, quote=True)
