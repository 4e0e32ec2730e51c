"""The app in a browser: every view by mouse and by keyboard, on a desk and on a phone, and nobody else is asked."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="Gradio is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from modeling_comicseq.library.app.collection import Collection  # noqa: E402

from .serving import served  # noqa: E402
from .small_index import SmallIndex, drawn_page  # noqa: E402
from .test_views import HOSTILE, judge_last  # noqa: E402

BROWSER = os.environ.get("COMICSEQ_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
OPTIONS += ["--no-first-run", "--disable-component-update", "--disable-sync", "--disable-default-apps"]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (COMICSEQ_BROWSER names one elsewhere)"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, headless=True, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def upload(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("uploads") / "page.png"
    file.write_bytes(drawn_page(120, (480, 680)))
    return file


class Watched:
    """A page of the browser that is watched: what it asks for, and what its console says."""

    def __init__(self, browser, address: str, size: dict[str, int], is_phone: bool = False):
        self.address = address
        context = browser.new_context(viewport=size, has_touch=is_phone, is_mobile=is_phone)
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.faults: list[str] = []
        self.page.on("console", lambda said: self._note(said.type == "error", f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self._note(True, f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self._note(True, f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("response", lambda got: self._note(got.status >= 400, f"{got.status}: {got.url}"))
        self.page.on("request", lambda asked: self._note(not self._is_own(asked.url), f"asked: {asked.url}"))
        self.page.on("websocket", lambda socket: self._note(True, f"socket: {socket.url}"))

    def _note(self, is_fault: bool, what: str) -> None:
        if is_fault:
            self.faults.append(what)

    def _is_own(self, url: str) -> bool:
        return url.startswith((f"{self.address}/", "data:image/", f"blob:{self.address}/"))

    def open(self, path: str = "/"):
        self.page.goto(self.address + path)
        self.page.get_by_role("tab").first.wait_for()
        return self.page

    def tab(self, name: str) -> None:
        """Goes to a view; on a phone some stand in a menu."""
        tab = self.page.get_by_role("tab", name=name, exact=True).first
        if not tab.is_visible():
            self.page.locator(".overflow-menu > button").click()
            tab = self.page.locator(".overflow-dropdown button", has_text=name)
        tab.click()


@pytest.fixture(params=["desk", "phone"])
def watched(request, browser, address):
    watched = Watched(browser, address, DESK if request.param == "desk" else PHONE, request.param == "phone")
    yield watched
    watched.page.context.close()
    assert watched.faults == []


@pytest.fixture(scope="module")
def address():
    with served(Collection(SmallIndex()), judge_last) as address:
        yield address


def fits(page) -> bool:
    """Whether nothing stands beyond the right edge."""
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")


def test_every_view_by_mouse_or_finger(watched, upload):
    page = watched.open()
    page.get_by_label("Words", exact=True).fill("a witch")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("12 pages nearest to “a witch”").wait_for()
    assert page.locator(".cs-card img:visible").count() == 12 and fits(page)

    # More like this, and on to the page.
    page.locator(".cs-card:visible").nth(2).get_by_role("button", name=re.compile("^More like")).click()
    page.get_by_text(re.compile("pages nearest to book")).wait_for()
    page.locator(".cs-picture:visible").first.click()
    page.locator(".cs-sheet img:visible").wait_for()
    first = page.locator(".cs-side h3:visible").first.inner_text()
    assert page.locator("button.cs-panel:visible").count() == 3 and fits(page)

    # A panel, its relatives, and one of them.
    page.locator("button.cs-panel:visible").nth(1).click()
    page.get_by_text("Nearest to panel 2").wait_for()
    relative = page.locator(".cs-few .cs-picture:visible").first
    target = relative.get_attribute("data-page")
    relative.click()
    page.locator(".cs-side h3:visible", has_text=target).wait_for()
    assert target != first
    page.get_by_role("button", name="Next page", exact=True).click()
    page.locator(".cs-side .cs-note:visible").first.wait_for()
    page.get_by_role("button", name="Previous page", exact=True).click()

    # A question, a guess, the truth.
    page.locator("button.cs-panel:visible").nth(2).click()
    page.get_by_text("Nearest to panel 3").wait_for()
    page.get_by_role("button", name="Ask the model about this panel").click()
    page.get_by_text("Choose the one that you take for panel 3").wait_for()
    page.get_by_role("button", name=re.compile("^Candidate 2")).click()
    page.get_by_text("is the panel of the book").wait_for()
    assert page.locator("meter:visible").count() == 5 and fits(page)
    page.get_by_label("Which panel is missing?").check()
    page.get_by_role("button", name="Show the answer").click()
    page.get_by_text("is the panel of the book").wait_for()

    # The reading order of a page of one's own, both ways.
    watched.tab("Reading order")
    page.get_by_label("A page", exact=True).set_input_files(upload)
    page.get_by_text("3 panels read from left to right").wait_for()
    page.get_by_label("from right to left").check()
    page.get_by_text("3 panels read from right to left").wait_for()
    assert page.locator("span.cs-panel:visible").count() == 3 and fits(page)

    # The same picture as a query.
    watched.tab("Search")
    page.get_by_label("Or a page, or a panel of it").fill("")
    page.get_by_label("Words", exact=True).fill("")
    page.get_by_label("Or a picture").set_input_files(upload)
    page.get_by_text("nearest to your picture").wait_for()

    # The map, and a page from it.
    watched.tab("Map")
    page.locator(".cs-map circle").first.wait_for()
    assert page.locator(".cs-map circle").count() == 12 and fits(page)
    point = page.locator(".cs-map circle").nth(5)
    target = point.get_attribute("data-page")
    point.click(force=True)
    page.locator(".cs-side h3:visible", has_text=target).wait_for()


def focused(page) -> dict:
    """What has the focus: its role as people know it, its name, and whether it can be seen."""
    return page.evaluate(
        """() => { const at = document.activeElement, box = at.getBoundingClientRect();
        return { tag: at.tagName, name: (at.getAttribute('aria-label') || at.innerText || at.labels?.[0]?.innerText || '').trim(),
                 role: at.getAttribute('role'), page: at.dataset.page || '', panel: at.dataset.panel || '', do: at.dataset.do || '',
                 seen: box.width > 0 && box.height > 0, type: at.type || '' }; }"""
    )


def press_until(page, key: str, found, most: int = 60) -> dict:
    """Presses a key until what has the focus is what is looked for."""
    for _ in range(most):
        page.keyboard.press(key)
        at = focused(page)
        if found(at):
            return at
    raise AssertionError(f"{most} times {key} did not reach it; the focus is at {at}")


def test_every_view_by_keyboard_alone(browser, address, upload):
    watched = Watched(browser, address, DESK)
    page = watched.open()
    press_until(page, "Tab", lambda at: at["role"] == "tab")
    press_until(page, "Tab", lambda at: at["name"] == "Words")
    page.keyboard.type("a witch")
    page.keyboard.press("Enter")
    page.get_by_text("12 pages nearest").wait_for()
    press_until(page, "Tab", lambda at: at["name"] == "Search" and at["tag"] == "BUTTON")
    press_until(page, "Tab", lambda at: at["type"] == "file")
    press_until(page, "Tab", lambda at: at["name"].startswith("Or a page"))

    # Cards in their order, each before its “More like this”.
    card = press_until(page, "Tab", lambda at: at["do"] == "open")
    like = press_until(page, "Tab", lambda at: at["do"] == "like")
    assert card["page"] == like["page"] and like["name"] == f"More like {card['page']}"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.locator(".cs-sheet img:visible").wait_for()

    # Panels in reading order.
    page.get_by_role("button", name="Next page", exact=True).focus()
    order = [press_until(page, "Tab", lambda at: at["do"] == "choose")["panel"] for _ in range(3)]
    assert order == ["1", "2", "3"]
    page.keyboard.press("Enter")
    page.get_by_text("Nearest to panel 3").wait_for()
    assert focused(page)["panel"] == "3"  # the focus stays where it was
    press_until(page, "Tab", lambda at: at["do"] == "ask")
    page.keyboard.press("Enter")
    page.get_by_text("Choose the one").wait_for()
    page.get_by_role("button", name="Ask about the next page").focus()
    guess = press_until(page, "Tab", lambda at: at["do"] == "guess")
    assert guess["name"].startswith("Candidate 1")
    page.keyboard.press("Space")
    page.get_by_text("is the panel of the book").wait_for()

    # The map by arrows.
    page.get_by_role("tab", name="Map", exact=True).focus()
    page.keyboard.press("Enter")
    page.locator(".cs-map circle").first.wait_for()
    start = press_until(page, "Tab", lambda at: at["tag"] == "circle")
    at = start
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
        at = focused(page)
        assert at["tag"] == "circle" and at["name"] == at["page"]
    page.keyboard.press("Enter")
    page.locator(".cs-side h3:visible", has_text=at["page"]).wait_for()
    watched.page.context.close()
    assert watched.faults == []


def test_a_page_has_an_address_and_everything_a_name(browser, address):
    watched = Watched(browser, address, DESK)
    page = watched.open("/?open=book%202%2Fpage_03.png")
    page.locator(".cs-side h3:visible", has_text="book 2/page_03.png").wait_for()

    watched.tab("Search")
    page.get_by_label("Words", exact=True).fill("a witch")
    page.keyboard.press("Enter")
    page.get_by_text("12 pages nearest").wait_for()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input:not([type=hidden]), select, textarea, img, [role=button]')]
        .filter(at => at.offsetParent && !(at.getAttribute('aria-label') || at.innerText || at.alt || at.labels?.length || at.title))
        .map(at => at.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    assert page.locator(".cs-card img:visible").first.get_attribute("alt").startswith("book ")
    page.context.close()
    assert watched.faults == []


def test_texts_that_are_programs_stay_texts(browser):
    """HTML, templates of Gradio's page and of JavaScript, in names, texts, queries and sentences."""
    index = SmallIndex(books=1, texts=[[HOSTILE]] * 3)
    for number, row in enumerate(index.rows):
        row["page_id"], row["book_id"] = f"{HOSTILE}/{number}", HOSTILE
    with served(Collection(index), judge_last, title="ComicSeq") as address:
        watched = Watched(browser, address, DESK)
        page = watched.open()
        page.get_by_label("Words", exact=True).fill(HOSTILE)
        page.keyboard.press("Enter")
        page.get_by_text("pages nearest to").wait_for()
        assert HOSTILE in page.locator(".cs-say:visible").inner_text()
        page.locator(".cs-picture:visible").first.click()
        page.locator(".cs-sheet img:visible").wait_for()
        assert HOSTILE in page.locator(".cs-texts:visible").inner_text()
        page.get_by_role("button", name="Ask the model about this panel").click()
        page.get_by_text("Candidates").wait_for()
        page.get_by_role("button", name="Show the answer").click()
        page.get_by_text("is the panel of the book").wait_for()
        watched.tab("Map")
        page.locator(".cs-map circle").first.wait_for()
        watched.tab("Search")
        page.get_by_label("Or a page, or a panel of it").fill(f"{HOSTILE}!")
        page.keyboard.press("Enter")
        page.get_by_role("alert").first.wait_for()
        page.wait_for_timeout(300)
        assert page.locator("script:text('alert(1)')").count() == 0 and page.locator("img[src=x]").count() == 0
        page.context.close()
        assert watched.faults == []


def test_a_library_without_pictures_is_read(browser):
    with served(Collection(SmallIndex(pictures=False, boxes=False))) as address:
        watched = Watched(browser, address, PHONE, True)
        page = watched.open()
        page.get_by_label("Words", exact=True).fill("a witch")
        page.keyboard.press("Enter")
        page.get_by_text("12 pages nearest").wait_for()
        assert page.locator(".cs-card img").count() == 0 and fits(page)
        page.locator(".cs-picture:visible").first.click()
        page.get_by_text("neither a picture of this page").wait_for()
        page.get_by_role("button", name="Ask the model about this panel").click()
        page.get_by_text("started without a model").wait_for()
        page.get_by_role("button", name="Show the answer").click()
        page.get_by_text("is the panel of the book").wait_for()
        page.context.close()
        assert watched.faults == []
