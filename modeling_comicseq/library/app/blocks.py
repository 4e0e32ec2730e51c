"""The app's page: which components it has, and which view answers what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ...errors import counted
from . import map_view, order_view, page_view, question_view, search_view
from .asking import in_one_sentence
from .collection import Collection
from .judge import Judge
from .render import asset, render, say
from .search_view import like_name

__all__ = ["build_blocks"]

_FIND = [("pages", "strip"), ("panels", "panel"), ("the best page of each book", "book")]
_BY = [("what it means and what is written", "both"), ("the lettering alone", "lettering")]
_DIRECTIONS = [("from left to right", "ltr"), ("from right to left", "rtl")]
_KINDS = [("What comes next?", "next"), ("Which panel is missing?", "missing")]
_MOST_BOOKS = 2000  # in a list to choose from; others are typed


class _Blocks(gr.Blocks):
    """Blocks that take texts, numbers and truths, as many as they need.

    Of anything else Gradio looks for files in it, to copy them or to fetch them from wherever they are said to be.
    """

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """Raises a `gradio.Error` in one sentence; called before anything else is done with what was sent."""
        if not all(value is None or isinstance(value, str | bool | int | float) for value in inputs):
            raise gr.Error("Each value must be a text, a number or a truth.", print_exception=False)
        if len(inputs) != len(block_fn.inputs):
            names = ", ".join(str(block.label or "a value") for block in block_fn.inputs)
            raise gr.Error(
                f"{len(inputs)} values were given where {len(block_fn.inputs)} are needed: {names}.",
                print_exception=False,
            )


def build_blocks(collection: Collection, judge: Judge | None = None, title: str = "ComicSeq") -> gr.Blocks:
    """The page of the app, which is not started yet.

    Args:
        collection: What it shows.
        judge: Answers its questions; without one, they are asked all the same.
        title: Its heading.
    """
    with _Blocks(title=title, analytics_enabled=False, delete_cache=(600, 600)) as blocks:
        gr.Markdown(f"# {title}\n{counted(collection.num_pages, 'page')} of {counted(len(collection.books), 'book')}")
        with gr.Tabs() as tabs:
            with gr.Tab("Search", id="search"):
                search = _SearchTab(collection)
            with gr.Tab("Page", id="page"):
                page = _PageTab(collection)
            with gr.Tab("What comes next?", id="question"):
                question = _QuestionTab()
            with gr.Tab("Reading order", id="order"):
                _OrderTab()
            with gr.Tab("Map", id="map") as map_tab:
                plot = _html()
        _Wiring(collection, judge, tabs, search, page, question).connect(plot, map_tab, blocks)
    return blocks.queue(default_concurrency_limit=10, max_size=200)


def _html(value: str = "") -> gr.HTML:
    """A place for a view's HTML, whose clicks are told by `app.js`."""
    return gr.HTML(value, js_on_load=asset("app.js"), apply_default_css=False, padding=False)


def _upload(label: str) -> gr.HTML:
    """Where a picture is chosen, dropped or pasted; its value is a data URL."""
    return gr.HTML(
        "",
        html_template=render("upload", label=label),
        js_on_load=asset("upload.js"),
        apply_default_css=False,
        min_width=280,
    )


class _SearchTab:
    def __init__(self, collection: Collection):
        with gr.Row():
            self.words = gr.Textbox(label="Words", placeholder="a witch flies over a village", scale=4, min_width=230)
            self.button = gr.Button("Search", variant="primary", scale=1, min_width=100)
        with gr.Row():
            self.picture = _upload("Or a picture")
            self.like = gr.Textbox(
                label="Or a page, or a panel of it", placeholder="“More like this” writes it here", min_width=280
            )
        with gr.Accordion("What is found", open=False):
            self.level = gr.Radio(_FIND, value="strip", label="Find")
            self.way = gr.Radio(_BY, value="both", label="Words are compared with")
            self.book = gr.Dropdown(
                ["", *collection.books[:_MOST_BOOKS]],
                value="",
                label="In the book (empty: in all)",
                allow_custom_value=True,
            )
            self.other_books = gr.Checkbox(False, label="Leave out the book of the query")
        self.found = _html(say("Search by words, by a picture, or by a page that you have opened."))
        asked = (self.words, self.picture, self.like, self.level, self.way, self.book, self.other_books)
        self.inputs = list(asked)


class _PageTab:
    def __init__(self, collection: Collection):
        books = collection.books
        first = books[0] if books else ""
        pages = collection.book_pages(first)
        with gr.Row():
            self.book = gr.Dropdown(books[:_MOST_BOOKS], value=first, label="Book", allow_custom_value=True, scale=2)
            self.page = gr.Dropdown(
                pages, value=pages[0] if pages else "", label="Page", allow_custom_value=True, scale=3
            )
            self.previous = gr.Button("Previous page", min_width=120)
            self.next = gr.Button("Next page", min_width=120)
        self.shown = _html()


class _QuestionTab:
    def __init__(self) -> None:
        with gr.Row():
            self.kind = gr.Radio(_KINDS, value="next", label="Question")
            self.panel = gr.Textbox(label="Asked panel (empty: the last one)", max_lines=1)
            self.button = gr.Button("Ask about the page", variant="primary")
            self.another = gr.Button("Ask about the next page")
        self.shown = _html()


class _OrderTab:
    def __init__(self) -> None:
        gr.Markdown(
            "Panels are found by the white between them, and ordered by the predictor that comes with the package."
        )
        picture = _upload("A page")
        direction = gr.Radio(_DIRECTIONS, value="ltr", label="It is read")
        button = gr.Button("Find the reading order", variant="primary")
        shown = _html()

        def order(picture: str, direction: str) -> str:
            """The panels of a page in reading order."""
            return _answered(lambda: order_view.order(picture, direction))

        button.click(order, [picture, direction], shown, api_name="order")
        picture.picked(
            lambda url, way: order(url, way) if url else "", [picture, direction], shown, api_visibility="private"
        )
        direction.input(
            lambda url, way: order(url, way) if url else "", [picture, direction], shown, api_visibility="private"
        )


class _Wiring:
    """What the components answer, and where a click leads."""

    def __init__(
        self,
        collection: Collection,
        judge: Judge | None,
        tabs: gr.Tabs,
        search: _SearchTab,
        page: _PageTab,
        question: _QuestionTab,
    ):
        self.collection, self.judge = collection, judge
        self.tabs, self.search, self.page, self.question = tabs, search, page, question

    def connect(self, plot: gr.HTML, map_tab: gr.Tab, blocks: gr.Blocks) -> None:
        """Connects all events; those with a name are the API."""
        search, page, question = self.search, self.page, self.question
        search.button.click(self.find, search.inputs, search.found, api_name="search")
        for typed in (search.words, search.like):
            typed.submit(self.find, search.inputs, search.found, api_visibility="private")
        search.picture.picked(self.find_picture, search.inputs, search.found, api_visibility="private")

        opened = [page.book, page.page, page.shown]
        page.book.input(self.open_book, page.book, opened, api_visibility="private")
        page.page.input(self.open_page, page.page, opened, api_name="page")
        page.previous.click(lambda page_id: self.step(page_id, -1), page.page, opened, api_visibility="private")
        page.next.click(lambda page_id: self.step(page_id, 1), page.page, opened, api_visibility="private")

        for shown in (search.found, page.shown, question.shown, plot):
            shown.open(self.go_to_page, None, [self.tabs, *opened], api_visibility="private")
            shown.like(
                self.go_to_search, None, [self.tabs, search.like, search.level, search.found], api_visibility="private"
            )
        page.shown.choose(self.choose, None, page.shown, api_visibility="private")
        asked = [question.panel, question.shown]
        page.shown.ask(self.go_to_question, question.kind, [self.tabs, *asked], api_visibility="private")

        question.button.click(self.ask, [question.kind, page.page, question.panel], question.shown, api_name="ask")
        question.kind.input(
            self.ask, [question.kind, page.page, question.panel], question.shown, api_visibility="private"
        )
        another = [page.book, page.page, page.shown, question.panel, question.shown]
        question.another.click(self.ask_another, [question.kind, page.page], another, api_visibility="private")
        question.shown.guess(self.guess, None, question.shown, api_visibility="private")
        gr.api(self.answer, api_name="answer")

        map_tab.select(self.draw_map, None, plot, api_visibility="private")
        blocks.load(self.start, None, [self.tabs, *opened], api_visibility="private")

    # What the events call. Data of events come from browsers, or from anyone: the views check all of it.

    def find(self, words: str, picture: str, like: str, level: str, way: str, book: str, other_books: bool) -> str:
        """Pages or panels that are nearest to words, to a picture (a data URL), or to a page of the index, as HTML."""
        return _answered(
            lambda: search_view.find(self.collection, words, picture, like, level, way, book, other_books)
        )

    def find_picture(self, words: str, picture: str, *rest: Any) -> Any:
        """As `find`, once a picture was chosen; nothing when it was taken away."""
        return self.find(words, picture, *rest) if picture else gr.skip()

    def open_page(self, page_id: str, panel: Any = None) -> list[Any]:
        """A page of the index, with its panels, texts and the nearest relatives of its first panel, as HTML."""
        shown, fault = in_one_sentence(lambda: page_view.show(self.collection, page_id, panel))
        if fault:
            return [gr.skip(), gr.skip(), fault]
        book = self.collection.page(page_id).book_id
        pages = self.collection.book_pages(book)
        return [gr.update(value=book), gr.update(choices=pages, value=page_id), shown]

    def open_book(self, book: str) -> list[Any]:
        """The first page of a book."""
        pages, fault = in_one_sentence(lambda: self.collection.book_pages(book))
        if not pages:
            told = fault or say("There is no such book in the index: choose one of its books.", is_fault=True)
            return [gr.skip(), gr.skip(), told]
        return self.open_page(pages[0])

    def step(self, page_id: str, by: int) -> list[Any]:
        """The page before or after."""
        other, fault = in_one_sentence(lambda: self.collection.step(page_id, by))
        return [gr.skip(), gr.skip(), fault] if fault else self.open_page(other)

    def go_to_page(self, event: gr.EventData) -> list[Any]:
        """A click on a page or a panel, wherever it stands."""
        told = _told(event)
        return [gr.update(selected="page"), *self.open_page(told["page"], told["panel"] or None)]

    def go_to_search(self, event: gr.EventData) -> list[Any]:
        """A click on “More like this”."""
        told = _told(event)

        def find() -> tuple[str, str, str]:
            page = self.collection.page(told["page"])
            panel = self.collection.slot(page, told["panel"]) + 1 if told["panel"] else None
            name, level = like_name(page.page_id, panel), "strip" if panel is None else "panel"
            return name, level, search_view.find(self.collection, like=name, level=level)

        found, fault = in_one_sentence(find)
        name, level, shown = found or (gr.skip(), gr.skip(), fault)
        return [gr.update(selected="search"), name, level, shown]

    def choose(self, event: gr.EventData) -> str:
        """A click on a panel of the page."""
        told = _told(event)
        return _answered(lambda: page_view.show(self.collection, told["page"], told["panel"] or None))

    def go_to_question(self, kind: str, event: gr.EventData) -> list[Any]:
        """A click on “Ask the model about this panel”."""
        told = _told(event)
        kind = "missing" if told["panel"] == "1" else kind  # nothing comes before the first
        return [gr.update(selected="question"), told["panel"], self.ask(kind, told["page"], told["panel"])]

    def ask(self, kind: str, page_id: str, panel: str = "") -> str:
        """A question about a panel of a page: `next` or `missing`, as HTML with the candidates."""
        return _answered(lambda: question_view.ask(self.collection, self.judge, kind, page_id, panel))

    def answer(self, kind: str, page_id: str, panel: str, guess: str) -> str:
        """The truth about a question, and the model's scores, as HTML; `guess` is the number of a candidate, or 0."""
        return _answered(lambda: question_view.ask(self.collection, self.judge, kind, page_id, panel, guess or "0"))

    def ask_another(self, kind: str, page_id: str) -> list[Any]:
        """A question about the next page."""
        opened = self.step(page_id, 1)
        other, _ = in_one_sentence(lambda: self.collection.step(page_id, 1))
        return [*opened, "", self.ask(kind, other or page_id)]

    def guess(self, event: gr.EventData) -> str:
        """A click on a candidate."""
        told = _told(event)
        return self.answer(told["kind"], told["page"], told["panel"], told["guess"])

    def draw_map(self) -> str:
        """The map, once its tab is opened."""
        return _answered(lambda: map_view.draw(self.collection))

    def start(self, request: gr.Request) -> list[Any]:
        """The page that the address names, `?open=…`; else the first one."""
        page_id = dict(request.query_params).get("open") if request else None
        if page_id:
            return [gr.update(selected="page"), *self.open_page(page_id)]
        books = self.collection.books
        return [gr.skip(), *(self.open_book(books[0]) if books else [gr.skip()] * 3)]


def _answered(view: Callable[[], str]) -> str:
    """A view's HTML, or a sentence that says what is wrong."""
    shown, fault = in_one_sentence(view)
    return fault or shown


def _told(event: gr.EventData) -> dict[str, str]:
    """What an event tells, as text."""
    data = event._data if isinstance(event._data, dict) else {}
    return {name: str(data.get(name) or "")[:1000] for name in ("page", "panel", "kind", "guess")}
