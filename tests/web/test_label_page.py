"""A person at a real browser: keys, undo, reload, a server that is killed, two tabs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from commands import command, start
from foresift.app.selecting.pool_selection import select_from_pool
from foresift.app.selecting.request import Request
from foresift.app.workspace import Workspace
from foresift.sources.labels import read_labels
from run_files import write_run

pytestmark = pytest.mark.timeout(600)
DIGITS = ",".join("0123456789")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of the system; without it these tests say nothing, and in CI that is a failure."""
    chromium = shutil.which("chromium")
    if chromium is None:
        told = "no chromium on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A fresh tab of 1280 x 800 that may talk to this machine only."""
    with opened_tab(browser) as page:
        yield page


@contextmanager
def opened_tab(browser: Any, **options: Any) -> Iterator[Any]:
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    outside: list[str] = []
    context.route(lambda url: not re.match(r"(http://(127\.0\.0\.1|localhost):|data:|blob:)", url), note_in(outside))
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not outside
    assert not errors


def note_in(outside: list[str]) -> Any:
    def refuse(route: Any) -> None:
        outside.append(route.request.url)
        route.abort()

    return refuse


class Server(NamedTuple):
    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        found = re.search(r":(\d+)/", self.url)
        assert found is not None
        return int(found[1])

    def stop(self) -> str:
        """Ctrl+C; what it says then."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        return err


@contextmanager
def served(selection: object, home: Path, *options: object) -> Iterator[Server]:
    line = ["label", selection, "--no-browser", *options]
    if "--port" not in options:
        line += ["--port", free_port()]
    with start(*line, home=home) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        url = re.search(r"label at (\S+)", said)
        assert url is not None, said + process.stderr.read()
        try:
            yield Server(process, url[1])
        finally:
            process.kill()


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def chosen(pool: Path, home: Path, tmp_path: Path) -> Path:
    out = tmp_path / "to_label.csv"
    select_from_pool(Workspace.open(home), pool, Request(strategy="random", budget=12, out=out))
    return out


def truths(selection: Path) -> list[str]:
    """The files of the pool are named by their digit."""
    return [Path(uri).name[0] for uri in read_labels(selection).uris]


def shows(tab: Any, at: int) -> None:
    """Wait until a certain image is on screen."""
    tab.wait_for_selector(f".stage[data-at='{at}']", state="attached")
    if tab.locator(".stage").is_visible():
        tab.wait_for_function("(i => i.complete && i.naturalWidth > 0)(document.querySelector('.stage img.main'))")


def press(tab: Any, key: str, *, then: int) -> None:
    tab.keyboard.press(key)
    shows(tab, then)


def test_ten_digits_by_keys_undo_cannot_tell_reload_and_a_killed_server(tab: Any, chosen: Path, home: Path) -> None:
    truth = truths(chosen)
    with served(chosen, home, "--classes", DIGITS, "--annotator", "Ann") as server:
        tab.goto(server.url)
        shows(tab, 0)
        for at in range(4):
            press(tab, truth[at], then=at + 1)
        assert read_labels(chosen).labels == (*truth[:4], *[""] * 8)

        press(tab, "Backspace", then=3)
        assert read_labels(chosen).labels[3] == ""
        press(tab, "Space", then=4)
        assert read_labels(chosen).labels[3] == "cannot-tell"

        tab.reload()
        shows(tab, 4)
        assert tab.locator(".count").text_content() == "4 of 12"
        press(tab, "u", then=3)  # a reload does not forget what can be undone
        press(tab, truth[3], then=4)

        press(tab, "ArrowLeft", then=3)
        assert tab.locator(".act.class.chosen .name").text_content() == truth[3]
        press(tab, "ArrowRight", then=4)
        tab.evaluate("window.before = true")
        server.process.kill()
        server.process.wait()
        port = server.port

    assert read_labels(chosen).labels == (*truth[:4], *[""] * 8)
    with served(chosen, home, "--classes", DIGITS, "--annotator", "Ann", "--port", port) as server:
        tab.wait_for_function("!window.before")  # the page finds the new server by itself
        shows(tab, 4)
        for at in range(4, 12):
            press(tab, truth[at], then=at + 1)
        assert read_labels(chosen).labels == tuple(truth)
        assert tab.locator("h2").text_content() == "All answered"
        assert f"--labels {chosen}" in tab.locator(".next code").text_content()
        said = server.stop()
    assert "12 of 12 answered" in said
    assert "next: foresift train" in said


def test_two_tabs_lose_nothing_of_each_other(browser: Any, chosen: Path, home: Path) -> None:
    with served(chosen, home, "--classes", DIGITS) as server, opened_tab(browser) as one, opened_tab(browser) as two:
        one.goto(server.url)
        shows(one, 0)
        two.goto(server.url)
        shows(two, 1)
        for step in range(5):
            press(one, "1", then=2 * step + 2)
            press(two, "2", then=2 * step + 3)
        assert read_labels(chosen).labels == ("1", "2") * 5 + ("", "")
        press(two, "ArrowLeft", then=10)
        press(one, "1", then=11)
        two.wait_for_selector(".act.class.chosen")  # it looks again by itself
        press(two, "3", then=11)
        assert read_labels(chosen).labels[10] == "3"


def test_keys_that_mean_nothing_and_keys_held_down_label_nothing(tab: Any, chosen: Path, home: Path) -> None:
    with served(chosen, home, "--classes", "cat,dog") as server:
        tab.goto(server.url)
        shows(tab, 0)
        for key in ("x", "7", "F5", "Control+1", "Alt+c", "Enter"):
            if key != "F5":
                tab.keyboard.press(key)
        tab.keyboard.down("c")
        shows(tab, 1)
        tab.keyboard.down("c")  # as a keyboard repeats it
        tab.keyboard.up("c")
        press(tab, "D", then=2)
        assert read_labels(chosen).labels == ("cat", "dog", *[""] * 10)


def test_buttons_do_what_keys_do_and_leave_the_keys_alone(tab: Any, chosen: Path, home: Path) -> None:
    with served(chosen, home, "--classes", "cat,dog") as server:
        tab.goto(server.url)
        shows(tab, 0)
        tab.get_by_role("button", name="dog").click()
        shows(tab, 1)
        press(tab, "Space", then=2)
        tab.get_by_role("button", name="Undo").click()
        shows(tab, 1)
        tab.get_by_role("button", name="Cannot tell").click()
        shows(tab, 2)
        tab.locator(".thumbnail").nth(1).click()
        shows(tab, 0)
        tab.get_by_role("button", name="cat").click()
        shows(tab, 2)
        assert read_labels(chosen).labels[:3] == ("cat", "cannot-tell", "")


def test_many_classes_are_found_by_typing(tab: Any, chosen: Path, home: Path) -> None:
    classes = [f"class {number:03}" for number in range(101)]
    with served(chosen, home, "--classes", ",".join(classes)) as server:
        tab.goto(server.url)
        shows(tab, 0)
        tab.keyboard.press("/")
        tab.keyboard.type("077")
        assert tab.locator("button.act.class:visible").count() == 1
        press(tab, "Enter", then=1)
        press(tab, "2", then=2)
        assert read_labels(chosen).labels[:2] == ("class 077", "class 001")


def test_broken_images_are_told_and_can_be_passed_over(tab: Any, chosen: Path, home: Path) -> None:
    Path(read_labels(chosen).uris[0]).write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with served(chosen, home, "--classes", DIGITS) as server:
        tab.goto(server.url)
        tab.wait_for_selector('.stage[data-broken] .reason:has-text("can\'t be shown")')
        press(tab, "?", then=1)
        assert not tab.locator(".stage[data-broken]").count()
        assert read_labels(chosen).labels[0] == "cannot-tell"


def test_a_region_is_shown_inside_its_image(tab: Any, home: Path, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (40, 120, 200)).save(tmp_path / "a.png")
    (tmp_path / "patches.csv").write_text(f'id,uri,label\n"a#100,50,64,64",{tmp_path}/a.png,\n')
    with served(tmp_path / "patches.csv", home, "--classes", "road,sky") as server:
        tab.goto(server.url)
        shows(tab, 0)
        tab.wait_for_function("document.querySelector('.stage img.part').naturalWidth === 1024")
        press(tab, "s", then=1)
        assert read_labels(tmp_path / "patches.csv").labels == ("sky",)


def test_a_phone_shows_everything_without_scrolling_sideways(browser: Any, chosen: Path, home: Path) -> None:
    size = {"width": 360, "height": 740}
    with served(chosen, home, "--classes", DIGITS) as server, opened_tab(browser, viewport=size, has_touch=True) as tab:
        tab.goto(server.url)
        shows(tab, 0)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        for button in tab.locator("button.act:visible").all():
            box = button.bounding_box()
            assert box["height"] >= 44
            assert box["y"] + box["height"] <= 740
        tab.get_by_role("button", name="7").tap()
        shows(tab, 1)
        assert read_labels(chosen).labels[0] == "7"


def test_only_images_of_the_list_are_served(tab: Any, chosen: Path, home: Path) -> None:
    with served(chosen, home, "--classes", DIGITS) as server:
        tab.goto(server.url)
        shows(tab, 0)
        nonce = tab.locator(".stage img.main").get_attribute("src").split("/")[2]
        paths = {
            f"/image/{nonce}/12/whole": 404,
            f"/image/{nonce}/-1/whole": 404,
            f"/image/{nonce}/..%2f..%2fetc%2fpasswd/whole": 404,
            f"/image/{nonce}/passwd/whole": 422,
            f"/image/{nonce}/0/..%2f..%2f": 404,
            "/image/other/0/whole": 404,
            "/../../etc/passwd": 404,
            "/docs": 404,
            "/openapi.json": 404,
            f"/image/{nonce}/0/whole": 200,
        }
        answers = {path: tab.request.get(server.url.rstrip("/") + path).status for path in paths}
        assert answers == paths
        strange = tab.request.get(server.url, headers={"Host": "evil.example"})
        assert strange.status == 421
        assert server.stop()


def test_a_label_that_can_not_be_written_is_said_and_not_counted(
    tab: Any, chosen: Path, home: Path, small_disk: Path
) -> None:
    copy = small_disk / "copy.csv"
    with served(chosen, home, "--classes", DIGITS, "--out", copy) as server:
        tab.goto(server.url)
        shows(tab, 0)
        press(tab, "1", then=1)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(2**22))
        tab.keyboard.press("2")
        tab.wait_for_selector(".notice.failed:has-text('no space left')")
        assert tab.locator(".stage").get_attribute("data-at") == "1"
        filler.unlink()
        press(tab, "2", then=2)
        assert read_labels(copy).labels[:3] == ("1", "2", "")
    assert not any(read_labels(chosen).labels)


def test_a_run_waits_for_a_person_and_goes_on(tab: Any, digit_files: Path, home: Path, tmp_path: Path) -> None:
    file = write_run(tmp_path, digit_files / "test", oracle="people", rounds=2, budget=4)
    told = command("run", file, "--json", home=home).json
    assert told["state"] == "waiting"
    assert f"foresift label {told['run']}/1" in told["reason"]
    with served(f"{told['run']}/1", home, "--annotator", "Ann") as server:
        tab.goto(server.url)
        shows(tab, 0)
        press(tab, "0", then=1)
        press(tab, "1", then=2)
        press(tab, "u", then=1)
        assert "stands until" in tab.locator(".notice").text_content()
        press(tab, "2", then=2)
        press(tab, "Space", then=3)
        press(tab, "3", then=4)
        assert f"foresift runs resume {told['run']}" in tab.locator(".next code").text_content()
        assert "4 of 4 answered" in server.stop()
    listed = command("labels", "list", "--run", told["run"], "--json", home=home).json["labels"]
    assert [one["value"] for one in listed] == ["0", "2", "cannot-tell", "3"]
    after = command("runs", "resume", told["run"], "--json", home=home).json
    assert [one["state"] for one in after["rounds"]] == ["done", "labeling"]
    assert after["rounds"][0]["labels"] == 3
