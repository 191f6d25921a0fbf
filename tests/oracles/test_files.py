"""Files dropped into a folder: each content once, nothing before it is whole, what is refused is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from foresift.core.oracles import FileAnswers, Inquiry, Refusal
from foresift.oracles.files import Dropped, Files
from oracle_desks import desk, inquiry


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def dropped(tmp_path: Path, inbox: Path) -> Dropped:
    return Dropped(desk=desk(tmp_path), folder=inbox, settle_s=2)


def drop(folder: Path, name: str, text: str, *, age_s: float = 10) -> Path:
    """A file that somebody finished writing so many seconds ago."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def said(dropped: Dropped, since: str = "") -> list[tuple[object, str]]:
    return [(one.sample_id, one.value) for one in dropped.collect(inquiry(), since=since).labels]


def test_each_file_is_taken_once(dropped: Dropped, inbox: Path) -> None:
    drop(inbox, "one.csv", "id,label\na,cat\n")
    first = dropped.collect(inquiry())
    assert [(one.sample_id, one.value) for one in first.labels] == [("a", "cat")]
    assert said(dropped, first.cursor) == []
    drop(inbox, "a copy.csv", "id,label\na,cat\n")
    assert said(dropped, first.cursor) == [], "the same content under another name is no new answer"
    drop(inbox, "one.csv", "id,label\na,cat\nb,dog\n")
    assert said(dropped, first.cursor) == [("a", "cat"), ("b", "dog")]


def test_who_dies_before_the_cursor_is_kept_gets_everything_again(dropped: Dropped, inbox: Path) -> None:
    drop(inbox, "one.csv", "id,label\na,cat\n")
    first = dropped.collect(inquiry())
    assert [one.id for one in dropped.collect(inquiry()).labels] == [one.id for one in first.labels]


def test_files_come_in_the_order_in_which_they_were_written(dropped: Dropped, inbox: Path) -> None:
    drop(inbox, "a.csv", "id,label\na,dog\n", age_s=10)
    drop(inbox, "b.csv", "id,label\na,cat\n", age_s=99)
    assert said(dropped) == [("a", "cat"), ("a", "dog")]


def test_a_file_that_is_still_being_written_is_left(dropped: Dropped, inbox: Path) -> None:
    drop(inbox, "young.csv", "id,label\na,cat\n", age_s=1)
    drop(inbox, "half.csv", "id,label\na,ca", age_s=10)
    drop(inbox, "sub/half.parquet", "PAR1...", age_s=10)
    drop(inbox, "empty.csv", "", age_s=10)
    assert said(dropped) == []
    drop(inbox, "half.csv", "id,label\na,cat\n", age_s=10)
    assert said(dropped) == [("a", "cat")]


def test_a_file_without_a_last_line_break_is_taken_after_a_while(dropped: Dropped, inbox: Path) -> None:
    drop(inbox, "unusual.csv", "id,label\na,cat", age_s=60)
    assert said(dropped) == [("a", "cat")]


def test_a_clock_that_jumped_back_holds_nothing_up(dropped: Dropped, inbox: Path) -> None:
    drop(inbox, "tomorrow.csv", "id,label\na,cat\n", age_s=-86_400)
    assert said(dropped) == [("a", "cat")]


def test_hidden_and_unfinished_names_are_passed_over(dropped: Dropped, inbox: Path) -> None:
    for name in (".one.csv", "~$one.csv", ".sub/one.csv", "one.csv.part", "notes.txt"):
        drop(inbox, name, "id,label\na,cat\n")
    assert said(dropped) == []


def test_refused_rows_stand_in_a_report_and_the_rest_is_taken(dropped: Dropped, inbox: Path) -> None:
    drop(inbox, "one.csv", "id,label\na,cat\nzebra,cat\n")
    found = dropped.collect(inquiry())
    assert [one.sample_id for one in found.labels] == ["a"]
    assert [str(one) for one in found.refused] == ["one.csv, line 3: no sample zebra"]
    report = inbox / "one.csv.refused.txt"
    assert "line 3: no sample zebra" in report.read_text()
    drop(inbox, "one.csv", "id,label\na,cat\nb,cat\n")
    dropped.collect(inquiry(), since=found.cursor)
    assert not report.exists()


def test_a_file_that_can_not_be_read_is_reported_once(dropped: Dropped, inbox: Path) -> None:
    (path := drop(inbox, "bad.csv", "")).write_bytes(b"\xff\xfe\n")
    os.utime(path, (0, 0))
    found = dropped.collect(inquiry())
    assert "not text; nothing of it was taken" in found.refused[0].reason
    assert dropped.collect(inquiry(), since=found.cursor).refused == ()


def test_a_file_that_changes_while_it_is_read_is_left(tmp_path: Path, inbox: Path) -> None:
    from dataclasses import replace

    from oracle_desks import read_lines

    table = desk(tmp_path)
    path = drop(inbox, "one.csv", "id,label\na,cat\n")

    def read(path: Path, asked: object) -> object:
        found = read_lines(path, asked)  # type: ignore[arg-type]
        drop(inbox, "one.csv", "id,label\na,dog\n")
        return found

    changing = Dropped(desk=replace(table, read=read), folder=inbox)  # type: ignore[arg-type]
    found = changing.collect(inquiry())
    assert (found.labels, found.cursor) == ((), "")
    assert said(Dropped(desk=table, folder=inbox)) == [("a", "dog")]
    assert path.exists()


def test_the_questions_of_a_round_lie_in_the_folder_to_be_filled_in(dropped: Dropped, inbox: Path) -> None:
    dropped.send(inquiry("ba", number=3))
    sheet = inbox / "round-3.csv"
    assert sheet.read_text().splitlines()[:2] == ["rank,id,uri,score,label", "1,b,/images/b.png,1.0,"]
    sheet.write_text("id,label\nb,dog\n")
    dropped.send(inquiry("ba", number=3))
    assert sheet.read_text() == "id,label\nb,dog\n", "what people filled in is never written over"


def test_a_folder_that_is_not_there_yet_holds_nothing(tmp_path: Path) -> None:
    oracle = Files(folder=str(tmp_path / "later")).open(desk(tmp_path))
    assert oracle.collect(inquiry()).labels == ()
    assert oracle.can_answer(inquiry())


def test_an_answer_that_nobody_has_asked_for_yet_is_said_once_and_read_again(tmp_path: Path, inbox: Path) -> None:
    from dataclasses import replace

    from oracle_desks import read_lines

    def read(path: Path, asked: Inquiry) -> FileAnswers:
        found = read_lines(path, asked)
        if path.stem in {one.sample_id for one in asked.questions}:
            return found
        return FileAnswers((), (Refusal(path.name, "nobody asked"),), for_now=True)

    dropped = Dropped(desk=replace(desk(tmp_path), read=read), folder=inbox, settle_s=2)
    drop(inbox, "c.csv", "id,label\na,cat\n")
    first = dropped.collect(inquiry("ab"))
    assert (first.labels, len(first.refused)) == ((), 1)
    assert (inbox / "c.csv.refused.txt").exists()
    again = dropped.collect(inquiry("ab"), since=first.cursor)
    assert (again.labels, again.refused) == ((), ())
    assert [one.value for one in dropped.collect(inquiry("c"), since=again.cursor).labels] == ["cat"]
    assert not (inbox / "c.csv.refused.txt").exists()


def test_one_file_is_held_at_a_time(tmp_path: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from foresift.oracles import files
    from oracle_desks import read_lines

    seen: list[tuple[str, str]] = []
    look, table = files._look, desk(tmp_path)
    monkeypatch.setattr(files, "_look", lambda path: seen.append(("looked", path.name)) or look(path))
    monkeypatch.setattr(files, "_unchanged", lambda _look: True)

    def read(path: Path, asked: Inquiry) -> FileAnswers:
        seen.append(("read", path.name))
        return read_lines(path, asked)

    for name in "ab":
        drop(inbox, f"{name}.csv", f"id,label\n{name},cat\n")
    Dropped(desk=replace(table, read=read), folder=inbox, settle_s=2).collect(inquiry())
    assert [what for what, _ in seen] == ["looked", "read", "looked", "read"]
