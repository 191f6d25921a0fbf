"""The page of ``foresift label``: what a seat at the desk shows, as elements of a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from nicegui import app as pages
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from foresift.app.runs.labeling import Labeling, Shown
from foresift.core.errors import DataError
from foresift.core.labels import CANNOT_TELL
from foresift.web.desk import PREFETCHED, THUMBNAILS, Desk, Seat, View
from foresift.web.pictures import part, thumbnail, whole

_LOOK_AGAIN_S = 2.0
_KEPT_S = 3600
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#15181d"/>'
    '<path d="M7 8h10l9 8-9 8H7z" fill="#ffbe3c"/><circle cx="12" cy="16" r="2.4" fill="#15181d"/></svg>'
)


def label_app(labeling: Labeling) -> FastAPI:
    """The web application of a labeling: one page, and its images."""
    desk = Desk(labeling)
    site = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    site.get("/image/{nonce}/{at}/{form}")(_images(desk))
    ui.page("/", title=f"{labeling.name} · Foresift", favicon=_ICON)(lambda: _open(desk))
    ui.run_with(site, tailwind=False, dark=True, show_welcome_message=False, binding_refresh_interval=None)
    return site


def _images(desk: Desk) -> Any:
    def image(nonce: str, at: int, form: str) -> Response:
        if nonce != desk.nonce or not 0 <= at < len(desk) or form not in ("whole", "part", "small"):
            return Response("no such image", status_code=404, media_type="text/plain")
        try:
            picture = _picture(desk.labeling.shown[at], form)
        except DataError as error:
            return Response(f"This image can't be shown: {error}", status_code=422, media_type="text/plain")
        kept = {"Cache-Control": f"private, max-age={_KEPT_S}, immutable"}
        return Response(picture.data, media_type=picture.kind, headers=kept)

    return image


def _picture(one: Shown, form: str) -> Any:
    if form == "part" and one.region is not None:
        return part(one.uri, one.region)
    return (thumbnail if form == "small" else whole)(one.uri, one.region)


async def _open(desk: Desk) -> None:
    """Build the page of one tab; where the tab stood before a reload, it goes on."""
    ui.add_head_html(f"<style>{_asset('label.css')}</style>")
    ui.add_body_html(f"<script>{_asset('label.js')}</script>")
    page = LabelPage(desk)
    client = ui.context.client
    await client.connected()
    seat = Seat(desk, client.id, pages.storage.tab.get("session"))
    page.take(seat)
    client.on_disconnect(seat.leave)
    client.on_connect(lambda: desk.looking.update({seat.tab: seat.session.at}))


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _text(tag: str, text: str = "", classes: str = "", **props: Any) -> TextElement:
    element = TextElement(tag=tag, text=text)
    element.classes(classes)
    _set(element, props)
    return element


def _box(tag: str = "div", classes: str = "", **props: Any) -> ui.element:
    element = ui.element(tag)
    element.classes(classes)
    _set(element, props)
    return element


def _set(element: ui.element, props: Mapping[str, Any]) -> None:
    """Set attributes; ``data_at`` is spelled ``data-at``."""
    for name, value in props.items():
        spelled = name.rstrip("_").replace("_", "-")
        if element.props.get(spelled) != value:
            element.props[spelled] = value


class LabelPage:
    """The elements of one tab."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seat: Seat | None = None
        with _box("main", "desk"):
            self._build_top()
            with _box(classes="stage") as self._stage:
                self._build_stage()
            self._notice = _text("p", "", "notice", role="alert")
            with _box("aside", "panel") as self._panel:
                self._build_panel()
            self._end = _End(desk)
            with _box("nav", "strip", aria_label="answered last"):
                self._thumbnails = [_Thumbnail() for _ in range(THUMBNAILS)]
        with _box(classes="ahead", aria_hidden="true"):
            self._ahead = [_box("img", alt="") for _ in range(PREFETCHED + 2)]
        ui.on("label", lambda event: self._act(event.args))
        ui.timer(_LOOK_AGAIN_S, self._look_again)

    def take(self, seat: Seat) -> None:
        """Show what a seat shows."""
        self._seat = seat
        self.show()

    def show(self) -> None:
        """Bring every element up to date."""
        if self._seat is None:
            return
        pages.storage.tab["session"] = self._seat.session
        view = self._seat.view()
        self._show_progress(view)
        over = view.at >= len(self._desk)
        _set(self._stage, {"data_at": str(view.at)})
        self._stage.set_visibility(not over)
        self._panel.set_visibility(not over)
        self._end.show(view if over else None)
        if not over:
            self._show_image(view)
        for thumbnail_, shown in zip(self._thumbnails, _padded(view.thumbnails, THUMBNAILS), strict=True):
            thumbnail_.show(self._desk, shown)
        for element, at in zip(self._ahead, _padded(view.upcoming, len(self._ahead)), strict=True):
            _set(element, {"src": "" if at is None else self._address(at)})

    def _build_top(self) -> None:
        labeling = self._desk.labeling
        with _box("header", "top"):
            with _box(classes="title"):
                _text("h1", labeling.name)
                if labeling.annotator:
                    _text("span", labeling.annotator, "who")
            self._count = _text("span", "", "count", role="status")
            self._speed = _text("span", "", "speed")
            with _box(classes="bar", role="progressbar", aria_label="answered") as self._bar:
                self._filled = _box(classes="filled")

    def _build_stage(self) -> None:
        self._image = _box("img", "main", alt="the image to label", draggable="false")
        self._part = _box("img", "part", alt="the part of it to label", draggable="false")
        _text("p", "", "reason")

    def _build_panel(self) -> None:
        if any(not own for own in self._desk.keys):
            _box("input", "find", type="search", placeholder="/ find a class", aria_label="find a class")
        with _box(classes="classes", role="group", aria_label="classes"):
            pairs = zip(self._desk.labeling.classes, self._desk.keys, strict=True)
            self._classes = [_button(name, own, "class", at) for at, (name, own) in enumerate(pairs)]
        with _box(classes="actions"):
            self._tell = _button("Cannot tell", ("space", "?"), "tell", 0)
            _button("Undo", ("u",), "undo", 0)
            _button("Back", ("←",), "move", -1)
            _button("Skip", ("→",), "move", 1)
        with _box("dl", "facts"):
            self._facts = [_Fact(name) for name in ("rank", "score", "chosen by", "image", "answer")]
        self._small = _box("img", "small", alt="the same in small", draggable="false")

    def _show_progress(self, view: View) -> None:
        n = len(self._desk)
        self._count.set_text(f"{view.tally.done:,} of {n:,}")
        pace = "" if view.pace is None else f"{view.pace:.0f} a minute"
        self._speed.set_text(" · ".join(word for word in (pace, view.left) if word))
        _set(self._bar, {"aria_valuemax": str(n), "aria_valuemin": "0", "aria_valuenow": str(view.tally.done)})
        self._filled.style(f"width: {100 * view.tally.done / n:.2f}%")
        self._notice.set_text(view.notice)
        self._notice.classes(add="failed" if view.failed else "", remove="" if view.failed else "failed")

    def _show_image(self, view: View) -> None:
        one = self._desk.labeling.shown[view.at]
        _set(self._image, {"src": self._address(view.at)})
        self._part.set_visibility(one.region is not None)
        _set(self._part, {"src": self._address(view.at, "part") if one.region is not None else ""})
        _set(self._small, {"src": self._address(view.at, "small")})
        for name, button in zip(self._desk.labeling.classes, self._classes, strict=True):
            _mark(button, chosen=name == view.answer)
        _mark(self._tell, chosen=view.answer == CANNOT_TELL)
        answer = {"": "open", CANNOT_TELL: "cannot tell"}.get(view.answer, view.answer)
        facts = (one.rank, one.score, one.why, Path(one.uri).name, answer)
        for fact, text in zip(self._facts, facts, strict=True):
            fact.show(text)

    def _address(self, at: int, form: str = "whole") -> str:
        return image_address(self._desk, at, form)

    def _look_again(self) -> None:
        if self._seat is not None and self._seat.look_again():
            self.show()

    def _act(self, said: Any) -> None:
        """What the browser says that a person did."""
        if self._seat is None or not isinstance(said, dict):
            return
        match said:
            case {"act": "key", "value": str(key), "at": int(at)}:
                self._seat.press(key, seen=at)
            case {"act": "class", "value": int(chosen), "at": int(at)}:
                self._seat.choose(chosen, seen=at)
            case {"act": "tell", "at": int(at)}:
                self._seat.answer(CANNOT_TELL, seen=at)
            case {"act": "undo"}:
                self._seat.undo()
            case {"act": "move", "value": (1 | -1) as step}:
                self._seat.move(step)
            case {"act": "go", "value": int(at)}:
                self._seat.go(at)
        self.show()


class _End:
    """What is shown behind the last image."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with _box("section", "end") as self._all:
            self._title = _text("h2")
            self._words = _text("p")
            with _box(classes="counts"):
                names = (*desk.labeling.classes, CANNOT_TELL)
                self._counts = {name: _text("span", "", "tally") for name in names}
            _text("p", f"The labels are in {desk.labeling.kept}.")
            with _box(classes="next") as self._next:
                _text("p", "Next:")
                _text("code", desk.labeling.next_command)
                _text("button", "Copy", "copy", type="button")
            with _box(classes="actions"):
                self._more = _button("Go to the open ones", ("→",), "move", 1)
                _button("Look them over", ("←",), "move", -1)
                _button("Undo", ("u",), "undo", 0)
        self._next.set_visibility(bool(desk.labeling.next_command))

    def show(self, view: View | None) -> None:
        """Show the figures, or nothing."""
        self._all.set_visibility(view is not None)
        if view is None:
            return
        told = view.tally.done - view.tally.undecided
        left = view.tally.open
        self._title.set_text(f"{left:,} still open" if left else "All answered")
        self._words.set_text(f"{told:,} with a class, {view.tally.undecided:,} that nobody could tell.")
        self._more.set_visibility(left > 0)
        for name, element in self._counts.items():
            count = view.tally.undecided if name == CANNOT_TELL else view.tally.of_class.get(name, 0)
            element.set_text(f"{'cannot tell' if name == CANNOT_TELL else name}: {count:,}")
            element.set_visibility(count > 0)


class _Fact:
    """A name and what there is to say under it."""

    def __init__(self, name: str) -> None:
        self._name, self._text = _text("dt", name), _text("dd")

    def show(self, text: str) -> None:
        """Show a text, or neither name nor text where there is none."""
        self._text.set_text(text)
        for element in (self._name, self._text):
            element.set_visibility(bool(text))


class _Thumbnail:
    """One of the images that were answered last."""

    def __init__(self) -> None:
        with _box("button", "thumbnail", type="button", data_act="go") as self._all:
            self._image = _box("img", alt="")
            self._caption = _text("span")
        self._all.set_visibility(False)

    def show(self, desk: Desk, shown: tuple[int, str] | None) -> None:
        """Show an image and its label, or nothing."""
        self._all.set_visibility(shown is not None)
        if shown is not None:
            at, answer = shown
            _set(self._all, {"data_value": str(at), "title": f"correct image {at + 1}"})
            _set(self._image, {"src": image_address(desk, at, "small")})
            self._caption.set_text({"": "open", CANNOT_TELL: "?"}.get(answer, answer))


def image_address(desk: Desk, at: int, form: str) -> str:
    """Where a browser finds an image."""
    return f"/image/{desk.nonce}/{at}/{form}"


def _button(name: str, keys: Sequence[str], act: str, value: int) -> ui.element:
    button = _box("button", f"act {act}", type="button", data_act=act, data_value=str(value), data_name=name.lower())
    with button:
        _text("span", name, "name")
        with _box("span", "keys"):
            for key in keys:
                _text("kbd", key)
    return button


def _mark(button: ui.element, *, chosen: bool) -> None:
    button.classes(add="chosen" if chosen else "", remove="" if chosen else "chosen")
    _set(button, {"aria_pressed": "true" if chosen else "false"})


def _padded(values: Sequence[Any], count: int) -> list[Any]:
    return [*values, *[None] * count][:count]
