"""Writes what a transfer study found: Markdown, pictures, CSV and one HTML page."""

from __future__ import annotations

from pathlib import Path

from foresift.stores.files import write_text
from foresift.studies.surrogates.html import html
from foresift.studies.surrogates.pictures import write_picture
from foresift.studies.surrogates.study import Study
from foresift.studies.surrogates.text import csv_text, page

STEM = "surrogates"


def write(study: Study, folder: Path) -> list[Path]:
    """Write every file of the report; gives their paths. A second table's picture is numbered."""
    pictures = [folder / f"{STEM}{'' if at == 0 else f'-{at + 1}'}.png" for at in range(len(study.tables))]
    for table, path in zip(study.tables, pictures, strict=True):
        write_picture(table, path)
    texts = {
        ".md": page(study, pictures=[path.name for path in pictures]),
        ".csv": csv_text(study),
        ".html": html(study),
    }
    for suffix, text in texts.items():
        write_text(folder / f"{STEM}{suffix}", text)
    return [*(folder / f"{STEM}{suffix}" for suffix in texts), *pictures]
