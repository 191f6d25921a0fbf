"""A picture of generations: who comes from whom, and who chose each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foresift.app.generations.descent import Member
from foresift.core.errors import UsageError
from foresift.core.lineage import Brought
from foresift.stores.files import write_atomically

COLOURS = ("#0072B2", "#C15700", "#009E73", "#882255", "#56B4E9", "#E69F00", "#332288", "#999933")
"""Of the colour-blind-safe palettes of Okabe and Ito, and Tol."""
GIVEN, UNCHOSEN = "#d9d9d9", "#8c8c8c"
_SHORT = 8
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 2.7, 1.5, 4.0, 2.15
_INK, _SOFT = "#1c1c1c", "#555555"


def write_lineage(members: Sequence[Member], path: Path) -> None:
    """Write generations as boxes, older ones left; each with a bar of its labels, coloured by who chose them.

    A solid arrow goes from a surrogate to the generation for which it chose, with the number of
    labels; a dashed one says that labels were inherited, a dotted one that weights were.

    Args:
        path: ends in ``.png`` or ``.svg``.
    Raises:
        UsageError: another suffix, or nothing to draw.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise UsageError(f"--picture {path}: expected a file ending in .png or .svg")
    if not members:
        raise UsageError("no generation to draw; foresift train DATA --model NAME --out DIR makes one")
    figure = _drawn(members)
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    write_atomically(path, lambda target: figure.savefig(target, format=kind, metadata=metadata))


def colours(members: Sequence[Member]) -> dict[str, str]:
    """A colour for each generation that chose labels, by id, in order of age."""
    choosers = {one for member in members for one in member.descent.surrogates}
    named = [member.descent.generation for member in members if member.descent.generation in choosers]
    return {one: COLOURS[at % len(COLOURS)] for at, one in enumerate(named)}


def _drawn(members: Sequence[Member]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = _places(members)
    columns = 1 + max(x for x, _ in places.values())
    rows = 1 + max(y for _, y in places.values())
    width, height = columns * _ACROSS - (_ACROSS - _WIDTH) + 0.6, rows * _DOWN + 1.2
    figure = Figure(figsize=(max(width, 7.0), height), dpi=150)
    FigureCanvasAgg(figure)
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set_xlim(-0.3, max(width, 7.0) - 0.3)
    panel.set_ylim(-rows * _DOWN - 0.75, 0.45)
    panel.axis("off")
    shades = colours(members)
    corners = {one: (x * _ACROSS, -(y + 1) * _DOWN + (_DOWN - _HEIGHT)) for one, (x, y) in places.items()}
    for member in members:
        _arrows(panel, member, corners, shades)
    for member in members:
        _box(panel, member, corners[member.descent.generation], shades)
    _legend(panel, members, shades)
    return figure


def _places(members: Sequence[Member]) -> dict[str, tuple[int, int]]:
    """Column (its number in its line) and row of each generation."""
    height: dict[int, int] = {}
    found = {}
    for member in members:
        column = member.number - 1
        found[member.descent.generation] = (column, height.get(column, 0))
        height[column] = height.get(column, 0) + 1
    return found


def _box(panel: Any, member: Member, corner: tuple[float, float], shades: Mapping[str, str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = corner
    descent = member.descent
    edge = shades.get(descent.generation, _SOFT)
    style: dict[str, Any] = {
        "linestyle": "-" if member.there else ":",
        "linewidth": 2.2 if descent.generation in shades else 1.2,
    }
    panel.add_patch(
        FancyBboxPatch((x, y), _WIDTH, _HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", fc="white", ec=edge, **style)
    )
    name = descent.architecture or "unknown"
    panel.text(x + 0.12, y + _HEIGHT - 0.14, name, va="top", fontsize=12, weight="bold", color=_INK)
    alias = ", ".join(member.aliases)
    panel.text(x + _WIDTH - 0.12, y + _HEIGHT - 0.16, alias, va="top", ha="right", fontsize=9, color=edge)
    panel.text(x + 0.12, y + _HEIGHT - 0.47, _facts(member), va="top", fontsize=9, color=_SOFT)
    _bar(panel, descent.brought, (x + 0.12, y + 0.14), shades)


def _facts(member: Member) -> str:
    descent = member.descent
    found = member.quality
    quality = "" if found is None else f", {found.measure} {100 * found.value:.1f} %"
    gone = "" if member.there else " (gone)"
    target = f", for {descent.target}" if descent.target else ""
    return f"{descent.generation[:_SHORT]}{gone}{quality}\n{descent.labels:,} labels{target}"


def _bar(panel: Any, brought: Sequence[Brought], at: tuple[float, float], shades: Mapping[str, str]) -> None:
    """One stretch a receipt, as long as its share of the labels, with their number."""
    from matplotlib.patches import Rectangle

    total = sum(part.labels for part in brought)
    x, y = at
    for part in brought:
        width = (_WIDTH - 0.24) * part.labels / total if total else 0.0
        fill = shade_of(part, shades)
        panel.add_patch(Rectangle((x, y), width, 0.36, fc=fill, ec="white", lw=0.8))
        if width > 0.3:
            ink = _INK if fill == GIVEN else "white"
            panel.text(x + width / 2, y + 0.17, f"{part.labels:,}", ha="center", va="center", fontsize=9, color=ink)
        x += width


def shade_of(part: Brought, shades: Mapping[str, str]) -> str:
    """The colour of labels that one receipt brought: that of the first generation that chose."""
    if not part.receipt:
        return GIVEN
    return next((shades[one] for one in part.surrogates if one in shades), UNCHOSEN)


def _arrows(panel: Any, member: Member, corners: Mapping[str, tuple[float, float]], shades: Mapping[str, str]) -> None:
    descent = member.descent
    chosen = {one: sum(part.labels for part in descent.brought if one in part.surrogates) for one in descent.surrogates}
    lines = [(one, "-", shades.get(one, _SOFT), f"chose {count:,}", 0.3) for one, count in chosen.items()]
    lines += [(one, "--", _SOFT, "inherited", 0.0) for one in (descent.heir_of,) if one]
    lines += [(one, ":", _SOFT, "weights", -0.3) for one in (descent.parent,) if one]
    for start, style, colour, text, shift in lines:
        if start in corners:
            _arrow(
                panel, corners[start], corners[descent.generation], style=style, colour=colour, text=text, shift=shift
            )


def _arrow(
    panel: Any,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    style: str,
    colour: str,
    text: str,
    shift: float,
) -> None:
    far = end[0] - start[0] > _ACROSS + 0.1 and abs(end[1] - start[1]) < _HEIGHT  # it would run behind a box
    bend = 0.28 if far else 0.0
    tail = (start[0] + (_WIDTH * 0.8 if far else _WIDTH), start[1] + (0.0 if far else _HEIGHT / 2 + shift))
    head = (end[0] + (0.3 if far else 0.0), end[1] + (0.0 if far else _HEIGHT / 2 + shift))
    panel.annotate(
        "",
        xy=head,
        xytext=tail,
        arrowprops={
            "arrowstyle": "-|>",
            "linestyle": style,
            "color": colour,
            "lw": 1.6,
            "shrinkA": 0,
            "shrinkB": 2,
            "connectionstyle": f"arc3,rad={bend}",
        },
        zorder=0,
    )
    middle = ((tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2)
    drop = 0.5 * bend * (head[0] - tail[0])
    panel.text(
        middle[0], middle[1] - drop + 0.05, text, ha="center", va="bottom", fontsize=9, color=colour,
        bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.85},
    )  # fmt: skip


def _legend(panel: Any, members: Sequence[Member], shades: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    names = {member.descent.generation: member.descent.architecture for member in members}
    parts = [part for member in members for part in member.descent.brought]
    entries = [Patch(fc=colour, label=f"chosen by {names[one]} {one[:_SHORT]}") for one, colour in shades.items()]
    if any(part.receipt and shade_of(part, shades) == UNCHOSEN for part in parts):
        entries.append(Patch(fc=UNCHOSEN, label="chosen without a model"))
    if any(not part.receipt for part in parts):
        entries.append(Patch(fc=GIVEN, label="given, without a receipt"))
    if entries:
        panel.legend(
            handles=entries, loc="lower left", ncols=3, fontsize=9, frameon=False, alignment="left", title="each label:"
        )
