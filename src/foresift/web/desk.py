"""One labeling that several browser tabs work on: what each of them sees and does."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from foresift.app.runs.labeling import Labeling
from foresift.core.errors import StoreError
from foresift.core.labels import CANNOT_TELL
from foresift.web.labeling import (
    CANNOT_TELL_KEYS,
    UNDO_KEYS,
    Pace,
    Said,
    Session,
    Tally,
    class_keys,
    class_of_key,
    latest,
    tally,
    upcoming,
)

PREFETCHED = 3
THUMBNAILS = 8


@dataclass(slots=True)
class Desk:
    """A labeling, its keys, and who looks at which image."""

    labeling: Labeling
    keys: tuple[tuple[str, ...], ...] = field(init=False)
    looking: dict[str, int] = field(default_factory=dict)
    """Tab to image."""
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(8))
    """Part of the addresses of images: a browser must not show what it kept of an earlier labeling."""

    def __post_init__(self) -> None:
        self.keys = class_keys(self.labeling.classes)

    def __len__(self) -> int:
        return len(self.labeling.shown)

    def busy(self, but: str) -> frozenset[int]:
        """What other tabs look at."""
        return frozenset(at for tab, at in self.looking.items() if tab != but)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a tab shows now."""

    at: int
    answer: str
    """What the shown image is labeled; "" = open, and at the end."""
    tally: Tally
    pace: float | None
    left: str
    """Time left in words."""
    thumbnails: tuple[tuple[int, str], ...]
    """The images answered last, and what they are labeled."""
    upcoming: tuple[int, ...]
    notice: str
    failed: bool
    """Whether the notice says that nothing was kept."""


class Seat:
    """One tab at a desk. Nothing here waits for a browser; every answer is kept before the next image is shown."""

    def __init__(
        self, desk: Desk, tab: str, session: Session | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.desk = desk
        self.tab = tab
        self._clock = clock
        self._pace = Pace()
        self._notice, self._failed = "", False
        self._answers = tuple(desk.labeling.board.answers())
        self.session = session or Session.start(self._answers, desk.busy(tab))
        desk.looking[tab] = self.session.at

    def leave(self) -> None:
        """The tab is closed, or its connection lost."""
        self.desk.looking.pop(self.tab, None)

    def view(self) -> View:
        """What there is to show now."""
        at, answers = self.session.at, self._answers
        counts = tally(answers, cannot_tell=CANNOT_TELL)
        return View(
            at=at,
            answer=answers[at] if at < len(answers) else "",
            tally=counts,
            pace=self._pace.per_minute,
            left=self._pace.left(counts.open),
            thumbnails=tuple((one, answers[one]) for one in latest(self.session, THUMBNAILS)),
            upcoming=upcoming(answers, self.session, PREFETCHED),
            notice=self._notice,
            failed=self._failed,
        )

    def look_again(self) -> bool:
        """Whether there is something new to show: others have answered, or the labels can't be read."""
        before = self._answers, self._notice
        self._read()
        return before != (self._answers, self._notice)

    def press(self, key: str, *, seen: int) -> None:
        """A key of the keyboard, pressed while image ``seen`` was shown."""
        key = key.lower()
        if key in CANNOT_TELL_KEYS:
            self.answer(CANNOT_TELL, seen=seen)
        elif key in UNDO_KEYS:
            self.undo()
        elif key in ("arrowleft", "arrowright"):
            self.move(-1 if key == "arrowleft" else 1)
        elif (chosen := class_of_key(self.desk.keys, key)) is not None:
            self.choose(chosen, seen=seen)

    def choose(self, chosen: int, *, seen: int) -> None:
        """The class of that number, chosen while image ``seen`` was shown."""
        if 0 <= chosen < len(self.desk.labeling.classes):
            self.answer(self.desk.labeling.classes[chosen], seen=seen)

    def answer(self, value: str, *, seen: int) -> None:
        """Label the image; nothing happens if another one is shown by now, because nobody looked at that one."""
        at = self.session.at
        if seen != at or at >= len(self._answers):
            return
        said = Said(at=at, before=self._answers[at], after=value)
        if self._put(said) == value:
            if not said.before:
                self._pace = self._pace.with_answer(self._clock())
            self._go(self.session.answered(said, self._answers, self.desk.busy(self.tab)))

    def undo(self) -> None:
        """Take the last answer of this tab back and show its image."""
        if not self.session.done:
            self._say("nothing to undo in this tab; the left arrow goes back to earlier images")
        elif not self.session.done[-1].before and not self.desk.labeling.board.takes_back:
            self._say("the answer stands until you give another one")
            self._go(self.session.undone())
        elif self._put(self.session.done[-1].inverse) is not None:
            self._go(self.session.undone())

    def move(self, step: int) -> None:
        """Look at the image before or behind; from behind the end, at the first open one."""
        self._say("")
        self._read()
        n = len(self._answers)
        if step > 0 and self.session.at == n:
            start = Session.start(self._answers, self.desk.busy(self.tab)).at
            self._go(self.session.at_image(start, n))
        else:
            self._go(self.session.moved(step, n))

    def go(self, at: int) -> None:
        """Look at a certain image."""
        self._say("")
        self._read()
        self._go(self.session.at_image(at, len(self._answers)))

    def _go(self, session: Session) -> None:
        self.session = session
        self.desk.looking[self.tab] = session.at

    def _put(self, said: Said) -> str | None:
        """What the image is labeled now, None if nothing could be kept; a notice says what went wrong."""
        self._say("")
        try:
            now = self.desk.labeling.board.put(said.at, said.after, seen=said.before)
        except StoreError as error:
            self._say(f"not kept: {error}", failed=True)
            return None
        self._read()
        if now != said.after:
            what = f"is labeled {now}" if now else "is open again"
            self._say(f"somebody was here meanwhile: this image {what}; press a key to change that")
        return now

    def _read(self) -> None:
        try:
            self._answers = tuple(self.desk.labeling.board.answers())
        except StoreError as error:
            self._say(str(error), failed=True)

    def _say(self, notice: str, *, failed: bool = False) -> None:
        self._notice, self._failed = notice, failed
