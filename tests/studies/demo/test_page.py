"""The table, the pictures and the page say what the results say, and need nothing else."""

import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from foresift.studies.demo.page import page, reproduce, summary, table_rows, verdicts, write_all
from foresift.studies.demo.study import CHOSEN, RANDOM
from studies.conftest import SMALL

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Remembers sources, and that every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def html(folder, results):
    return (folder / "report.html").read_text()


def test_table_equals_a_recomputation_from_the_file(folder, results):
    stored = json.loads((folder / "results.json").read_text())
    rows = iter(table_rows(results))
    for role, model in stored["models"].items():
        for at, size in enumerate(stored["sizes"]):
            chosen, random = (
                100 * np.array([run["accuracy"][role][arm][at] for run in stored["runs"]]) for arm in (CHOSEN, RANDOM)
            )
            row = next(rows)
            assert (row["model"], row["labels"]) == (f"{role}, {model['architecture']}", str(size))
            assert row[CHOSEN] == f"{chosen.mean():.1f} ± {chosen.std(ddof=1):.1f} %"
            assert row[RANDOM] == f"{random.mean():.1f} ± {random.std(ddof=1):.1f} %"
            if size == stored["sizes"][0]:
                assert (row["difference"], row["seeds won"]) == ("same labels", "")
                continue
            difference = chosen - random
            assert row["difference"] == f"{difference.mean():+.2f} ± {difference.std(ddof=1):.2f} pp"
            assert row["seeds won"] == f"{(difference > 0).sum()} of {len(difference)}"
    assert next(rows, None) is None


def test_page_is_well_formed_and_needs_nothing_else(html):
    page = Page(html)
    assert page.open == []
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"https?:|@import|url\(|<script|<link", html)


def test_pictures_in_the_page_are_pictures(html, results):
    sources = Page(html).sources
    assert len(sources) == 1 + len(results.gallery.most) + len(results.gallery.least)
    for source in sources:
        with Image.open(BytesIO(b64decode(source.partition(",")[2], validate=True))) as image:
            assert image.format == "PNG"
            assert image.convert("RGB").getcolors(1) is None  # more than one


def test_page_says_what_the_results_say(html, results):
    text = Page(html).text
    for said in (summary(results), *verdicts(results), *(row["difference"] for row in table_rows(results))):
        assert said in text
    for run in results.runs[:1]:
        assert run.inherited[:12] in text
        assert run.turns[-1].generation[:12] in text


def test_page_escapes_what_users_spell(folder, results):
    commands = reproduce(results, folder)  # the folder's name holds <, & and >
    text = page(results, folder, commands=commands)
    assert "out &lt;&amp;&gt; here" in text
    assert "<&>" not in text
    assert "\n".join(commands) in Page(text).text


def test_commands_name_what_is_there(folder, results):
    demo, replay, evaluate = reproduce(results, folder)
    assert f"--seeds {SMALL.seeds} --rounds {SMALL.rounds} --budget {SMALL.budget}" in demo
    assert (folder / "selections" / f"seed-0-round-{SMALL.rounds}.csv.receipt.json").is_file()
    assert results.runs[0].inherited[:12] in evaluate
    assert "--home" in replay


@pytest.mark.parametrize("name", ["curve.png", "contact-sheet.png"])
def test_picture_files_show_something(folder, results, name):
    with Image.open(folder / name) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 400
        assert image.convert("RGB").getcolors(10) is None


def test_writing_again_changes_no_byte(folder, results):
    files = [folder / name for name in ("report.html", "curve.png", "contact-sheet.png", "results.json")]
    before = [file.read_bytes() for file in files]
    assert sorted(write_all(results, folder)) == sorted(files)
    assert [file.read_bytes() for file in files] == before
    assert not list(folder.glob(".*"))
