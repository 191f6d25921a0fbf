"""Tabs at one desk: whatever they do in whatever order, no label is lost or given to an image that nobody saw."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from foresift.app.runs.labeling import Labeling, Shown
from foresift.core.errors import StoreError
from foresift.core.labels import CANNOT_TELL
from foresift.web.desk import Desk, Seat

CLASSES = ("cat", "dog")


class Memory:
    """A board without a disk; it can be told to fail."""

    takes_back = True

    def __init__(self, n: int) -> None:
        self.said = [""] * n
        self.full = False

    def answers(self) -> list[str]:
        return list(self.said)

    def put(self, row: int, value: str, *, seen: str) -> str:
        if self.full:
            raise StoreError("no space left on the disk")
        if self.said[row] == seen:
            self.said[row] = value
        return self.said[row]


def desk_of(n: int) -> tuple[Desk, Memory]:
    board = Memory(n)
    shown = tuple(Shown(id=f"s{i}", uri=f"/{i}.png", rank=str(i), score="", why="") for i in range(n))
    plain: dict[str, Any] = {"kept": "memory", "next_command": ""}
    return Desk(Labeling(name="test", shown=shown, classes=CLASSES, board=board, **plain)), board


def seat_of(n: int) -> tuple[Seat, Memory]:
    desk, board = desk_of(n)
    return Seat(desk, "a", clock=iter(range(1000)).__next__), board


def test_keys_label_one_image_after_the_other() -> None:
    seat, board = seat_of(4)
    for seen, key in enumerate(["1", "D", " ", "?"]):
        seat.press(key, seen=seen)
    assert board.said == ["cat", "dog", CANNOT_TELL, CANNOT_TELL]
    view = seat.view()
    assert (view.at, view.tally.open, view.tally.undecided, view.pace) == (4, 0, 2, 60)
    assert view.thumbnails[0] == (3, CANNOT_TELL)


def test_a_key_pressed_too_early_labels_nothing() -> None:
    seat, board = seat_of(3)
    seat.press("1", seen=0)
    seat.press("1", seen=0)
    assert board.said == ["cat", "", ""]


@pytest.mark.parametrize("key", ["u", "Backspace"])
def test_undo_and_again(key: str) -> None:
    seat, board = seat_of(2)
    seat.press("1", seen=0)
    seat.press(key, seen=1)
    assert (board.said, seat.view().at) == (["", ""], 0)
    seat.press("2", seen=0)
    assert board.said == ["dog", ""]
    seat.press(key, seen=1)
    seat.press(key, seen=0)
    assert "nothing to undo" in seat.view().notice


def test_arrows_look_back_and_correct() -> None:
    seat, board = seat_of(3)
    seat.press("1", seen=0)
    seat.press("1", seen=1)
    seat.press("ArrowLeft", seen=2)
    seat.press("arrowleft", seen=1)
    assert (seat.view().at, seat.view().answer) == (0, "cat")
    seat.press("2", seen=0)
    assert (board.said, seat.view().at) == (["dog", "cat", ""], 2)


def test_from_behind_the_end_it_goes_on_at_the_first_open_image() -> None:
    seat, _ = seat_of(2)
    seat.press("arrowright", seen=0)
    seat.press("arrowright", seen=1)
    assert seat.view().at == 2
    seat.press("arrowright", seen=2)
    assert seat.view().at == 0


def test_two_tabs_are_not_shown_the_same_image_while_there_are_others() -> None:
    desk, _ = desk_of(3)
    one, two = Seat(desk, "a"), Seat(desk, "b")
    assert (one.view().at, two.view().at) == (0, 1)
    one.press("1", seen=0)
    assert one.view().at == 2
    two.leave()
    assert Seat(desk, "c").view().at == 1


def test_who_was_second_is_told_and_changes_nothing() -> None:
    desk, board = desk_of(2)
    one, two = Seat(desk, "a"), Seat(desk, "b")
    two.go(0)
    one.press("1", seen=0)
    two.press("2", seen=0)
    assert board.said == ["cat", ""]
    assert "somebody was here meanwhile: this image is labeled cat" in two.view().notice
    two.press("2", seen=0)
    assert board.said == ["dog", ""]


def test_undo_leaves_what_somebody_else_corrected() -> None:
    desk, board = desk_of(2)
    one, two = Seat(desk, "a"), Seat(desk, "b")
    one.press("1", seen=0)
    two.go(0)
    two.press("2", seen=0)
    one.undo()
    assert board.said == ["dog", ""]
    assert "somebody was here" in one.view().notice


def test_a_full_disk_is_said_and_the_image_stays() -> None:
    seat, board = seat_of(2)
    board.full = True
    seat.press("1", seen=0)
    view = seat.view()
    assert (view.at, view.failed, board.said) == (0, True, ["", ""])
    assert "no space left" in view.notice
    board.full = False
    seat.press("1", seen=0)
    assert (board.said, seat.view().notice) == (["cat", ""], "")


def test_an_undo_that_fails_can_be_tried_again() -> None:
    seat, board = seat_of(2)
    seat.press("1", seen=0)
    board.full = True
    seat.undo()
    assert (board.said, seat.view().failed) == (["cat", ""], True)
    board.full = False
    seat.undo()
    assert (board.said, seat.view().at) == (["", ""], 0)


class Tabs(RuleBasedStateMachine):
    """Two tabs and an outsider against a model: label by label, who saw what."""

    @initialize(n=st.integers(1, 5))
    def open(self, n: int) -> None:
        self.desk, self.board = desk_of(n)
        self.seats = [Seat(self.desk, tab) for tab in "ab"]
        self.n = n

    @rule(tab=st.integers(0, 1), key=st.sampled_from(["1", "2", "c", "d", " ", "?"]), late=st.booleans())
    def label(self, tab: int, key: str, late: bool) -> None:
        seat = self.seats[tab]
        view, before = seat.view(), list(self.board.said)
        seat.press(key, seen=view.at - 1 if late else view.at)
        value = {"1": "cat", "c": "cat", "2": "dog", "d": "dog"}.get(key, CANNOT_TELL)
        if late or view.at == self.n or before[view.at] != view.answer:
            assert self.board.said == before
        else:
            assert self.board.said == [*before[: view.at], value, *before[view.at + 1 :]]
            after = seat.view().at
            assert after == self.n or not self.board.said[after]

    @rule(tab=st.integers(0, 1))
    def undo(self, tab: int) -> None:
        seat, before = self.seats[tab], list(self.board.said)
        last = seat.session.done[-1] if seat.session.done else None
        seat.undo()
        if last is not None and before[last.at] == last.after:
            before[last.at] = last.before
        assert self.board.said == before
        if last is not None:
            assert seat.view().at == last.at

    @rule(tab=st.integers(0, 1), step=st.sampled_from([-1, 1]))
    def move(self, tab: int, step: int) -> None:
        before = list(self.board.said)
        self.seats[tab].move(step)
        assert self.board.said == before

    @rule(tab=st.integers(0, 1))
    def reload(self, tab: int) -> None:
        old = self.seats[tab]
        old.leave()
        self.seats[tab] = Seat(self.desk, old.tab, old.session)
        assert self.seats[tab].view().at == old.session.at

    @rule(row=st.integers(0, 4), value=st.sampled_from(["", "cat", "dog"]))
    def outsider(self, row: int, value: str) -> None:
        if row < self.n:
            self.board.said[row] = value

    @rule(tab=st.integers(0, 1))
    def look(self, tab: int) -> None:
        self.seats[tab].look_again()
        assert self.seats[tab].view().tally.done == sum(map(bool, self.board.said))

    @invariant()
    def tabs_are_somewhere(self) -> None:
        for seat in getattr(self, "seats", ()):
            view = seat.view()
            assert 0 <= view.at <= self.n
            assert self.desk.looking[seat.tab] == view.at
            assert all(0 <= at < self.n for at in (*view.upcoming, *(one for one, _ in view.thumbnails)))


Tabs.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_tabs = Tabs.TestCase
