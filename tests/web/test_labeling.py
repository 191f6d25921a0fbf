"""Keys, order, undo and pace of labeling."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from foresift.web.labeling import (
    CANNOT_TELL_KEYS,
    SEARCH_KEY,
    UNDO_KEYS,
    Pace,
    Said,
    Session,
    class_keys,
    class_of_key,
    latest,
    next_open,
    tally,
    upcoming,
)

names = st.lists(st.text(min_size=1, max_size=6) | st.sampled_from(string.digits), unique=True, max_size=45)
answers = st.lists(st.sampled_from(["", "cat", "dog"]), max_size=12)


@given(names)
def test_no_key_stands_for_two_things(classes: list[str]) -> None:
    keys = class_keys(classes)
    every = [key for own in keys for key in own]
    assert len(keys) == len(classes)
    assert len(set(every)) == len(every)
    assert not set(every) & {*CANNOT_TELL_KEYS, *UNDO_KEYS, SEARCH_KEY}
    assert all(len(key) == 1 and key in string.ascii_lowercase + string.digits for key in every)
    assert all(class_of_key(keys, key.upper()) == at for at, own in enumerate(keys) for key in own)


@given(names.filter(lambda found: len(found) <= 9))
def test_nine_classes_have_a_key_each(classes: list[str]) -> None:
    assert all(class_keys(classes))


def test_digits_are_their_own_keys() -> None:
    assert class_keys([str(digit) for digit in range(10)]) == tuple((str(digit),) for digit in range(10))


def test_numbers_and_first_letters_that_tell_classes_apart() -> None:
    assert class_keys(["cat", "dog", "horse"]) == (("1", "c"), ("2", "d"), ("3", "h"))
    assert class_keys(["car", "cat", "dog", "urchin"]) == (("1",), ("2",), ("3", "d"), ("4",))


def test_behind_the_ninth_come_letters_of_the_name() -> None:
    keys = class_keys([*(f"x{i}" for i in range(9)), "xylophone", "y"])
    assert keys[9] == ("x",)
    assert keys[10] == ("y",)


def test_an_unknown_key_stands_for_nothing() -> None:
    assert class_of_key(class_keys(["cat", "dog"]), "q") is None


@given(answers, st.integers(-1, 12), st.sets(st.integers(0, 12)))
def test_the_next_image_is_open_and_the_first_of_those(said: list[str], after: int, busy: set[int]) -> None:
    n = len(said)
    at = next_open(said, after=after, busy=busy)
    free = [i for i in range(n) if not said[i]]
    if not free:
        assert at == n
        return
    assert at in free
    if free_of_others := [i for i in free if i not in busy]:
        behind = [i for i in free_of_others if i > after]
        assert at == min(behind or free_of_others)


@given(answers, st.data())
def test_undo_takes_back_exactly_the_last_answer(said: list[str], data: st.DataObject) -> None:
    session, history = Session.start(said), [(Session.start(said).at, list(said))]
    for _ in range(data.draw(st.integers(0, 6))):
        if session.at == len(said):
            break
        value = data.draw(st.sampled_from(["cat", "dog"]))
        history.append((session.at, list(said)))
        change = Said(at=session.at, before=said[session.at], after=value)
        said[change.at] = value
        session = session.answered(change, said)
    while session.done:
        back = session.done[-1].inverse
        assert said[back.at] == back.before
        said[back.at] = back.after
        session = session.undone()
        at, before = history.pop()
        assert (session.at, said) == (at, before)


def test_the_same_answer_again_is_nothing_to_undo() -> None:
    assert Session(at=0).answered(Said(at=0, before="cat", after="cat"), ["cat", ""]).done == ()


@given(st.integers(0, 9), st.integers(-20, 20), st.integers(0, 9))
def test_moving_stays_within_the_list(at: int, step: int, n: int) -> None:
    assert 0 <= Session(at=min(at, n)).moved(step, n).at <= n


@given(answers, st.integers(0, 12), st.integers(0, 4))
def test_what_comes_next_is_among_what_is_fetched(said: list[str], at: int, count: int) -> None:
    at = min(at, len(said))
    soon = upcoming(said, Session(at=at), count)
    assert len(set(soon)) == len(soon) <= count + 2
    assert all(0 <= one < len(said) and one != at for one in soon)
    if at < len(said) and count:
        behind = next_open([*said[:at], "cat", *said[at + 1 :]], after=at)
        assert behind in soon or behind == len(said) or behind < at


def test_the_latest_answers_come_once_newest_first() -> None:
    done = tuple(Said(at=at, before="", after="cat") for at in (0, 1, 2, 1))
    assert latest(Session(at=3, done=done), 2) == (1, 2)


def test_pace_is_that_of_the_last_answers_and_pauses_do_not_count() -> None:
    pace = Pace()
    for now in (0, 2, 4, 1000, 1002):
        pace = pace.with_answer(now)
    assert pace.per_minute == 30
    assert pace.left(90) == "about 3 min left"
    assert pace.left(10) == "less than a minute left"
    assert pace.left(30 * 60 * 5) == "about 5.0 h left"
    assert pace.left(0) == ""


def test_nobody_knows_the_pace_before_the_third_answer() -> None:
    assert Pace(times=(0, 1)).per_minute is None
    assert Pace(times=(1, 1, 1)).per_minute is None
    assert Pace().left(3) == ""


@given(answers)
def test_counts_add_up(said: list[str]) -> None:
    counts = tally(said, cannot_tell="dog")
    assert counts.n == len(said) == counts.open + counts.undecided + sum(counts.of_class.values())
    assert counts.done == sum(map(bool, said))
