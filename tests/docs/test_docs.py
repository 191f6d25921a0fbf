"""The documents do what they say: code blocks run, every command is in the reference, links lead somewhere."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from commands import start
from foresift.app.runs.files import KEYS
from foresift.app.search import file as search_file
from foresift.cli.reference import markdown
from foresift.cli.strategy_reference import markdown as strategies
from foresift.core.ensembles import Ensemble, Member
from foresift.core.subsets import Subset
from foresift.strategies import describe
from foresift.wire.config import Settings, parse_settings

pytestmark = pytest.mark.timeout(900)  # whole pages, on machines that do other things as well
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MY_MODULE = """
from torch import nn
my_module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 8), nn.ReLU(), nn.Linear(8, 2))
from foresift.sources.digits import write_digits
write_digits("pool")
"""


def blocks(page: Path, kind: str) -> list[str]:
    return [text for language, text in BLOCK.findall(page.read_text()) if language == kind]


def run(command: list[str], folder: Path, text: str | None = None) -> None:
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "FORESIFT_HOME": str(folder / "home")}
    done = subprocess.run(
        command, cwd=folder, env=environment, input=text, capture_output=True, text=True, timeout=840, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tutorial_runs_as_it_is_printed(tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *blocks(ROOT / "docs" / "tutorial.md", "sh")])
    run(["bash"], tmp_path, script)
    assert (tmp_path / "generation-2" / "generation.json").is_file()


def test_the_page_on_fleets_runs_as_it_is_printed(tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *blocks(ROOT / "docs" / "how-to" / "fleet.md", "sh")])
    run(["bash"], tmp_path, script)
    assert len(list((tmp_path / "spool" / "outbox").glob("*.json"))) == 20


def test_the_start_without_labels_runs_as_it_is_printed(tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *blocks(ROOT / "docs" / "how-to" / "start-without-labels.md", "sh")])
    run(["bash"], tmp_path, script)
    assert (tmp_path / "generation-1" / "generation.json").is_file()
    ran = [json.loads((tmp_path / f"{name}.csv.receipt.json").read_text())["details"] for name in ("first", "second")]
    assert ran[0]["ran"].startswith("typiclust")
    assert "labels" in ran[1]["why"] or "balanced accuracy" in ran[1]["why"]


def test_the_ensembles_run_as_they_are_printed(tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *blocks(ROOT / "docs" / "how-to" / "ensembles.md", "sh")])
    run(["bash"], tmp_path, script)
    assert len(json.loads((tmp_path / "four" / "ensemble.json").read_text())["members"]) == 4
    assert (tmp_path / "all.npz").is_file()


def test_the_search_runs_as_it_is_printed(tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *blocks(ROOT / "docs" / "how-to" / "search-a-training-set.md", "sh")])
    run(["bash"], tmp_path, script)
    chosen = json.loads((tmp_path / "found" / "stage-3" / "subset.json").read_text())["size"]
    for name in ("half", "half-cnn"):
        assert json.loads((tmp_path / name / "generation.json").read_text())["data"]["labeled"] == chosen


def test_a_run_that_waits_for_files_goes_on_as_it_is_printed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "label-with-people.md").read_text()
    waiting = page[page.index("## In a run: any tool that writes files") : page.index("## Label Studio")]
    script = "\n".join(["set -eu", *(text for language, text in BLOCK.findall(waiting) if language == "sh")])
    run(["bash"], tmp_path, script)
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 21


def test_the_backup_runs_as_it_is_printed(tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *blocks(ROOT / "docs" / "how-to" / "keep-a-workspace-safe.md", "sh")])
    run(["bash"], tmp_path, script)
    assert (tmp_path / "restored" / "foresift.sqlite").is_file()


def test_the_generations_run_as_they_are_printed(tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *blocks(ROOT / "docs" / "how-to" / "generations.md", "sh")])
    run(["bash"], tmp_path, script)
    assert (tmp_path / "lineage.png").read_bytes().startswith(b"\x89PNG")
    given = json.loads((tmp_path / "home" / "generations" / "aliases" / "deployed.json").read_text())["promotions"]
    assert [one["forced"] for one in given] == [False, False]


def test_runs_that_wait_for_people_go_on_as_it_is_printed(tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *blocks(ROOT / "docs" / "how-to" / "run-for-weeks.md", "sh")])
    run(["bash"], tmp_path, script)
    states = [one.name for one in (tmp_path / "home" / "inbox").glob("*/round-2.csv")]
    assert states == ["round-2.csv"] * 2, "the second rounds wait for people: for classes, and for masks"


def test_the_loop_of_patches_runs_as_it_is_printed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "defects-loop.md").read_text()
    quick = page.replace("--epochs 60", "--epochs 2")
    assert quick != page
    script = "\n".join(["set -eu", *(text for language, text in BLOCK.findall(quick) if language == "sh")])
    run(["bash"], tmp_path, script)
    first, second = (json.loads((tmp_path / f"generation-{n}" / "generation.json").read_text()) for n in (1, 2))
    assert first["classes"] == second["classes"] == ["plate", "scratch", "pit"]
    assert first["ignored"] == second["ignored"] == [255]
    assert sum(second["data"]["pixels"]) == 2 * sum(first["data"]["pixels"]) == 32 * 64 * 64
    ran = json.loads((tmp_path / "round-1.csv.receipt.json").read_text())["pool"]["auto"]
    assert ran["ran"] == "typiclust"
    first_ids, second_ids = (
        {row["id"] for row in csv.DictReader((tmp_path / f"round-{n}.csv").read_text().splitlines())} for n in (1, 2)
    )
    assert len(first_ids) == len(second_ids) == 16
    assert not first_ids & second_ids


def test_the_server_and_its_client_run_as_they_are_printed(tmp_path: Path) -> None:
    page = ROOT / "docs" / "how-to" / "serve.md"
    run(["bash"], tmp_path, "\n".join(["set -eu", *blocks(page, "sh")]))
    ask_a_server(tmp_path, "\n".join(blocks(page, "python")))


def test_the_service_of_the_readme_runs_as_it_is_printed(tmp_path: Path) -> None:
    (shell,) = [text for text in blocks(ROOT / "README.md", "sh") if "foresift serve" in text]
    before, serve, after = shell.partition("foresift serve server.yml\n")
    assert (bool(serve), after) == (True, "")
    run(["bash"], tmp_path, f"set -eu\n{before}")
    ask_a_server(tmp_path, "\n".join(blocks(ROOT / "README.md", "py")))


def ask_a_server(folder: Path, client: str) -> None:
    """Run what a client does beside ``foresift serve server.yml``."""
    with start("serve", "server.yml", "--port", 0, home=folder / "home", cwd=folder) as server:
        assert server.stdout is not None
        address = server.stdout.readline().rpartition("http://")[2].strip()
        run([sys.executable, "-c", client.replace("localhost:8888", address)], folder)
        server.terminate()
        assert server.wait(timeout=60) == 0


def test_the_configurations_of_servers_are_read_as_they_are_printed() -> None:
    printed = blocks(ROOT / "docs" / "how-to" / "serve.md", "yaml")
    read = [parse_settings(yaml.safe_load(text)) for text in printed]
    assert [(one.server.protocol, one.port, one.model.weights) for one in read] == [
        ("grpc", 60035, "generations/7"),
        ("http", 8081, "generations/7"),
    ]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/how-to/add-a-score.md",
        "docs/how-to/add-a-strategy.md",
        "docs/how-to/bring-your-own-model.md",
        "docs/how-to/ensembles.md",
        "docs/explanation/choosing-a-strategy-by-trial.md",
        "docs/how-to/guards-and-control.md",
    ],
)
def test_python_blocks_run(page: str, tmp_path: Path) -> None:
    code = "\n".join(blocks(ROOT / page, "python"))
    assert code
    before = MY_MODULE if "my_module" in code else ""
    run([sys.executable, "-c", before + code], tmp_path)


def test_the_command_reference_follows_from_the_commands() -> None:
    assert (ROOT / "docs" / "reference" / "commands.md").read_text().rstrip() == markdown().rstrip(), "run: make docs"


def test_the_strategy_reference_follows_from_the_registry() -> None:
    assert (ROOT / "docs/reference/strategies.md").read_text().rstrip() == strategies().rstrip(), "run: make docs"


def test_every_strategy_says_what_it_costs_when_to_use_it_and_where_it_is_from() -> None:
    lacking = [row.name for row in describe() if not (row.cite and row.cost and row.when)]
    assert not lacking


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    pages = [page for kind in ("how-to", "explanation", "reference") for page in (ROOT / "docs" / kind).glob("*.md")]
    missing = [str(page.relative_to(ROOT)) for page in pages if f"({page.relative_to(ROOT)})" not in readme]
    assert not missing


def words_of(page: str) -> set[str]:
    """Every name that a page prints as code."""
    return {
        name for code in re.findall(r"`([^`\n]+)`", (ROOT / page).read_text()) for name in re.split(r"[:,\s]+", code)
    }


def test_every_key_of_a_run_file_is_explained() -> None:
    assert set(KEYS) <= words_of("docs/how-to/run-for-weeks.md")


def test_every_key_of_a_search_file_is_explained() -> None:
    assert {*search_file.REQUIRED, *search_file.OPTIONAL} <= words_of("docs/how-to/search-a-training-set.md")


def test_every_field_of_subsets_and_lists_of_members_is_explained() -> None:
    names = {f.name for kind in (Subset, Ensemble, Member) for f in fields(kind)}
    assert names <= words_of("docs/reference/files.md")


def test_every_key_of_a_server_file_is_explained() -> None:
    sections = [field.annotation for field in Settings.model_fields.values()]
    inner = [name for one in sections if hasattr(one, "model_fields") for name in one.model_fields]
    assert {*Settings.model_fields, *inner} <= words_of("docs/reference/files.md")
