from pathlib import Path

import pytest

from foresift.core.errors import UnknownNameError, UsageError
from foresift.oracles.registry import ORACLES, parse
from oracle_desks import desk


def test_the_oracles_have_the_names_that_run_files_use() -> None:
    assert {"folders", "files", "people", "label-studio"} <= set(ORACLES.names())


def test_a_misspelled_oracle_is_told_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'folders'"):
        parse("folder")


def test_settings_are_spelled_after_the_name(tmp_path: Path) -> None:
    opened = parse(f"files:folder={tmp_path},settle=0").open(desk(tmp_path))
    assert opened.name == "files"
    with pytest.raises(UsageError, match="unknown parameter"):
        parse("people:folder=x")
    with pytest.raises(UsageError, match="settle"):
        parse("files:settle=-1")


@pytest.mark.parametrize("name", ["folders", "files", "people"])
def test_an_opened_oracle_knows_its_name(name: str, tmp_path: Path) -> None:
    assert parse(name).open(desk(tmp_path)).name == name
