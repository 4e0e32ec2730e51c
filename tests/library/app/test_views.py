"""The app's views without a browser: data in, HTML out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError, ComicSeqError
from modeling_comicseq.library.app import map_view, order_view, page_view, question_view, search_view
from modeling_comicseq.library.app.asking import in_one_sentence
from modeling_comicseq.library.app.collection import Collection, joined
from modeling_comicseq.library.app.pictures import MOST_UPLOAD_PIXELS, read_upload
from modeling_comicseq.library.app.questions import NUM_CANDIDATES, draw_question

from .small_index import BOXES, SmallIndex, drawn_page
from .uploads import bomb, data_url, picture_url

HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>${alert(3)}{{alert(4)}}' OR 1=1 --"""


class Tags(HTMLParser):
    """The tags of a text, each with its attributes, and its words."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def doing(self, what: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if attributes.get("data-do") == what]


@pytest.fixture(scope="module")
def collection():
    return Collection(SmallIndex())


def judge_last(collection, question):
    return [0.1] * (len(question.candidates) - 1) + [0.6]


judge_last.notes = ["said beside the answer"]


# Search


def test_words_find_pages_with_pictures_and_texts(collection):
    tags = Tags(search_view.find(collection, "a witch", k=5))
    assert collection.index.asked[-1] == {"text": "a witch", "level": "strip", "k": 5}
    assert len(tags.doing("open")) == len(tags.doing("like")) == len(tags.named("img")) == 5
    first = tags.doing("open")[0]["data-page"]
    assert tags.named("img")[0]["alt"].startswith(f"{first}: says ")
    assert "5 pages nearest to “a witch”" in tags.words


def test_lettering_alone_is_another_query(collection):
    search_view.find(collection, "a witch", way="lettering")
    assert collection.index.asked[-1]["words"] == "a witch" and "text" not in collection.index.asked[-1]


def test_panels_are_found_by_a_panel(collection):
    name = search_view.like_name("book 0/page_01.png", 2)
    tags = Tags(search_view.find(collection, like=name, level="panel"))
    assert collection.index.asked[-1]["panel"] == ("book 0/page_01.png", 1)
    assert {each["data-panel"] for each in tags.doing("open")} <= {"1", "2", "3"}


def test_a_picture_and_a_book_narrow_the_search(collection):
    search_view.find(collection, picture=picture_url(), book="book 2")
    asked = collection.index.asked[-1]
    assert asked["image"].size == (240, 340) and asked["where"] == "book_id = 'book 2'"


def test_quotes_in_a_book_stay_in_the_text():
    index = SmallIndex(books=1)
    index.rows[0]["book_id"] = "it's' or '1'='1"
    search_view.find(Collection(index), "words", book="it's' or '1'='1")
    assert index.asked[-1]["where"] == "book_id = 'it''s'' or ''1''=''1'"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "Say what to search"),
        ({"words": "x" * 3000}, "3,000 letters"),
        ({"words": "x", "level": "shelf"}, "Find one of"),
        ({"words": "x", "k": "many"}, "whole number"),
        ({"words": "x", "book": "' OR 1=1 --"}, "no book"),
        ({"like": "/etc/passwd"}, "no page"),
        ({"like": "book 0/page_01.png panel 9"}, "no panel '9'"),
        ({"picture": "file:///etc/passwd"}, "no file and no address is opened"),
        ({"picture": "http://127.0.0.1/x.png"}, "no file and no address is opened"),
        ({"picture": {"path": "/etc/passwd"}}, "no file and no address is opened"),
    ],
)
def test_impossible_searches_are_told(collection, query, said):
    with pytest.raises(ComicSeqError, match=re.escape(said)):
        search_view.find(collection, **query)


def test_a_page_of_text_alone_is_a_card_of_its_words():
    tags = Tags(search_view.find(Collection(SmallIndex(pictures=False)), "x"))
    assert not tags.named("img") and "says 0.0.0 and more" in tags.words


# Pages


def test_a_page_shows_its_panels_in_reading_order(collection):
    tags = Tags(page_view.show(collection, "book 0/page_01.png", 2))
    panels = [tag for tag in tags.named("button") if tag.get("class") == "cs-panel"]
    assert [panel["data-panel"] for panel in panels] == ["1", "2", "3"]
    assert [panel["aria-pressed"] for panel in panels] == ["false", "true", "false"]
    assert panels[1]["aria-label"] == "Panel 2: says 0.1.1 and more"
    x0, y0, x1, y1 = (100 * edge for edge in BOXES[1])
    assert panels[1]["style"] == f"left: {x0:.2f}%; top: {y0:.2f}%; width: {x1 - x0:.2f}%; height: {y1 - y0:.2f}%"
    assert "Nearest to panel 2" in tags.words and len(tags.doing("open")) == 6
    assert tags.named("img")[0]["alt"].startswith("Page book 0/page_01.png: says 0.1.0")


def test_a_page_without_picture_shows_boxes_and_words():
    tags = Tags(page_view.show(Collection(SmallIndex(pictures=False)), "book 1/page_00.png"))
    assert not tags.named("img") and "from right to left" in tags.words
    assert len([tag for tag in tags.named("button") if tag.get("class") == "cs-panel"]) == 3


def test_a_page_without_picture_and_boxes_shows_words():
    tags = Tags(page_view.show(Collection(SmallIndex(pictures=False, boxes=False)), "book 1/page_00.png"))
    assert "neither a picture" in tags.words and len(tags.doing("choose")) == 3


def test_relatives_that_cannot_be_found_leave_the_page(collection, monkeypatch):
    def fail(**query):
        raise ComicSeqDataError("The index is of another encoder.")

    monkeypatch.setattr(collection.index, "search", fail)
    tags = Tags(page_view.show(collection, "book 0/page_01.png"))
    assert "The index is of another encoder." in tags.words and len(tags.doing("choose")) == 6


@pytest.mark.parametrize("page", ["", None, 3, "../../etc/passwd", "book 0/page_99.png", "x" * 5000])
def test_pages_that_are_not_there_are_told(collection, page):
    with pytest.raises(ComicSeqError, match="no (such )?page"):
        page_view.show(collection, page)


@pytest.mark.parametrize("panel", [0, 4, -1, "x", "9" * 5000, float("nan"), float("inf"), [1]])
def test_panels_that_are_not_there_are_told(collection, panel):
    with pytest.raises(ComicSeqArgumentError, match="has no panel"):
        page_view.show(collection, "book 0/page_01.png", panel)


def test_pages_follow_one_another_within_the_book(collection):
    assert collection.step("book 1/page_01.png", 1) == "book 1/page_02.png"
    assert collection.step("book 1/page_01.png", -5) == "book 1/page_00.png"
    assert collection.step("book 1/page_03.png", 1) == "book 1/page_03.png"


def test_the_place_of_the_index_is_not_told(monkeypatch):
    index = SmallIndex()
    index.url = "/home/someone/index"
    monkeypatch.setattr(
        index, "page", lambda page_id: (_ for _ in ()).throw(ComicSeqDataError(f"{index.url} has no page"))
    )
    with pytest.raises(ComicSeqDataError, match="^The index has no page"):
        Collection(index).page("x")


def test_large_pictures_stand_in_for_small_ones():
    class Parts:
        def find(self, book, name):
            return 7 if name == "page_00.png" else None

        def read(self, rows):
            assert rows == [7]
            return [type("Part", (), {"picture": drawn_page(0, (600, 800))})]

    collection = Collection(SmallIndex(), Parts())
    for row in collection.index.rows:
        row["page_name"] = row["page_id"].split("/")[1]
    assert collection.image("book 0/page_00.png").size == (600, 800)
    assert collection.image("book 0/page_01.png").size == (240, 340)


# Questions


def test_wrong_answers_are_panels_of_the_nearest_other_pages(collection):
    question = draw_question(collection, "next", "book 0/page_01.png", 3)
    pages = [page for page, _ in question.candidates]
    assert len(set(question.candidates)) == NUM_CANDIDATES
    assert question.candidates[question.right] == ("book 0/page_01.png", 2)
    assert pages.count("book 0/page_01.png") == 1 and {page.split("/")[0] for page in pages} == {"book 0"}
    assert set(pages) == {f"book 0/page_0{page}.png" for page in range(4)}
    assert question.context == [0, 1]
    assert draw_question(collection, "next", "book 0/page_01.png", 3) == question
    assert draw_question(collection, "missing", "book 0/page_01.png", 2).context == [0, 2]


def test_places_of_right_answers_differ(collection):
    rights = {
        draw_question(collection, "missing", page, panel).right
        for page in collection.book_pages("book 0") + collection.book_pages("book 1")
        for panel in (1, 2, 3)
    }
    assert rights == set(range(NUM_CANDIDATES))


def test_no_wrong_answer_says_what_the_right_one_says():
    question = draw_question(
        Collection(SmallIndex(texts=[["one"], ["two"], ["three"]])), "next", "book 0/page_00.png", 3
    )
    assert {slot for place, (_, slot) in enumerate(question.candidates) if place != question.right} == {0, 1}


def test_an_open_question_tells_neither_truth_nor_scores(collection):
    html = question_view.ask(collection, judge_last, "next", "book 0/page_01.png", 2)
    tags = Tags(html)
    guesses = tags.doing("guess")
    assert len(guesses) == NUM_CANDIDATES + 1 and not tags.named("meter")
    assert "cs-right" not in html and not tags.doing("open")
    # Nothing on a card but its place tells it from the others.
    assert {tuple(sorted(set(each) - {"aria-label"})) for each in guesses[:-1]} == {
        tuple(sorted(set(guesses[0]) - {"aria-label"}))
    }


def test_an_answer_tells_truth_scores_and_notes(collection):
    question = draw_question(collection, "next", "book 0/page_01.png", 2)
    tags = Tags(question_view.ask(collection, judge_last, "next", "book 0/page_01.png", 2, question.right + 1))
    assert [meter["value"] for meter in tags.named("meter")] == ["10.0"] * 4 + ["60.0"]
    assert f"Candidate {question.right + 1} is the panel of the book. Your guess is right." in tags.words
    assert f"The model takes candidate 5, which is {'right' if question.right == 4 else 'wrong'}" in tags.words
    assert "said beside the answer" in tags.words


def test_a_question_needs_no_model(collection):
    tags = Tags(question_view.ask(collection, None, "missing", "book 0/page_01.png", "", "0"))
    assert "is the panel of the book." in tags.words and not tags.named("meter")


def test_what_the_model_cannot_answer_is_told_beside_the_truth(collection):
    def fail(collection, question):
        raise ComicSeqDataError("The checkpoint has no trained head.")

    fail.notes = []
    tags = Tags(question_view.ask(collection, fail, "missing", "book 0/page_01.png", 1, 1))
    assert "The checkpoint has no trained head." in tags.words and "is the panel of the book" in tags.words


@pytest.mark.parametrize(
    ("kind", "panel", "said"),
    [("next", 1, "Nothing comes before"), ("why", 2, "must be one of"), ("missing", 7, "no panel")],
)
def test_impossible_questions_are_told(collection, kind, panel, said):
    with pytest.raises(ComicSeqArgumentError, match=said):
        question_view.ask(collection, None, kind, "book 0/page_01.png", panel)


# Order


def test_an_uploaded_page_is_numbered_both_ways():
    url = data_url(drawn_page(90, (480, 680)))
    shown = [Tags(order_view.order(url, direction)) for direction in ("ltr", "rtl")]
    assert [
        "3 panels read from left to right" in shown[0].words,
        "3 panels read from right to left" in shown[1].words,
    ] == [True] * 2
    lefts = []
    for tags in shown:
        styles = [tag["style"] for tag in tags.named("span") if tag.get("class") == "cs-panel"]
        lefts.append([float(re.search(r"left: ([\d.]+)%", style)[1]) for style in styles])
    assert lefts[0][1] < 50 < lefts[0][2] and lefts[1][1] > 50 > lefts[1][2]


def test_no_page_or_another_direction_is_told():
    with pytest.raises(ComicSeqArgumentError, match="Choose a picture"):
        order_view.order("", "ltr")
    with pytest.raises(ComicSeqArgumentError, match="must be ltr or rtl"):
        order_view.order(picture_url(), "down")


# The map


def test_the_map_has_a_point_a_page_in_one_scale(collection):
    tags = Tags(map_view.draw(collection))
    circles = tags.doing("open")
    assert [circle["data-page"] for circle in circles] == [row["page_id"] for row in collection.index.rows]
    assert [circle["tabindex"] for circle in circles] == ["0"] + ["-1"] * 11
    assert len({circle["fill"] for circle in circles}) == 3
    points = np.array([[float(circle["cx"]), float(circle["cy"])] for circle in circles])
    assert (points > 0).all() and (points < [1000, 640]).all()
    assert "12 pages by their vectors" in tags.words


def test_a_map_of_equal_pages_is_one_place():
    placed = map_view.place_points(np.zeros((3, 2)), ["a", "b", "c"], ["red"] * 3)
    assert {(point.x, point.y) for point in placed} == {(500.0, 320.0)}


# Pictures


def test_uploads_are_bounded_before_they_are_decoded():
    with pytest.raises(ComicSeqArgumentError, match="3,600,000,000 pixels"):
        read_upload(data_url(bomb(60_000, 60_000)))
    with pytest.raises(ComicSeqArgumentError, match="at most 40,000,000"):
        read_upload(data_url(bomb(8_000, MOST_UPLOAD_PIXELS // 8_000 + 1)))
    with pytest.raises(ComicSeqArgumentError, match="more than 12 MiB"):
        read_upload("data:image/png;base64," + "A" * (17 << 20))
    with pytest.raises(ComicSeqArgumentError, match="cut off or damaged"):
        read_upload(data_url(bomb(400, 400)))
    with pytest.raises(ComicSeqArgumentError, match="no picture of a known kind"):
        read_upload(data_url(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "image/svg+xml"))
    with pytest.raises(ComicSeqArgumentError, match="not base64"):
        read_upload("data:image/png;base64,%%%")
    assert read_upload(None) is None and read_upload("") is None


def test_boxes_off_the_page_and_without_area_are_bounded():
    index = SmallIndex(books=1, pages=1)
    index.rows[0]["panel_boxes"] = [[-1, -1, 2, 0.5], [0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0]]
    collection = Collection(index)
    page = collection.page("book 0/page_00.png")
    assert page.boxes == [[0, 0, 1, 0.5], [0.5] * 4, [0] * 4]
    shown = [collection.picture(page.page_id, slot) for slot in range(3)]
    assert shown[0].startswith("data:image/jpeg;base64,") and shown[1:] == [None, None]
    assert page_view.marks(page.boxes, page.texts)[1].style == ""


# Whatever stands in texts and names


def test_texts_and_names_are_never_html():
    index = SmallIndex(books=1, texts=[[HOSTILE]] * 3)
    for row in index.rows:
        row["page_id"] = row["book_id"] = f"{HOSTILE}/{row['page_index']}"
    for row in index.rows:
        row["book_id"] = HOSTILE
    collection = Collection(index)
    page = index.rows[0]["page_id"]

    def judge(collection, question):
        return judge_last(collection, question)

    judge.notes = [HOSTILE]
    shown = [
        search_view.find(collection, HOSTILE),
        search_view.find(collection, like=page, level="panel"),
        page_view.show(collection, page, 2),
        question_view.ask(collection, judge, "next", page, 2, HOSTILE),
        map_view.draw(collection),
        in_one_sentence(lambda: search_view.find(collection, "x", book=HOSTILE + "!"))[1],
    ]
    allowed = {"p", "ol", "ul", "li", "button", "img", "span", "div", "h3", "svg", "circle", "title", "meter"}
    for html in shown:
        tags = Tags(html)
        assert {name for name, _ in tags.tags} <= allowed
        assert not [name for _, attributes in tags.tags for name in attributes if name.startswith("on")]
        assert "<script>alert(1)</script>" in tags.words or "alert(1)" in str(tags.tags)
        for tag in tags.named("img"):
            assert tag["src"].startswith("data:image/jpeg;base64,")


def test_joined_takes_texts_of_any_depth():
    assert joined([["a", None], " b ", [], ["", ["c"]]]) == "a b c"


def test_a_fault_of_ours_is_one_sentence_and_is_logged(caplog):
    answer, said = in_one_sentence(lambda: 1 / 0)
    assert answer is None and "ZeroDivisionError" not in said and "could not be answered" in Tags(said).words
    assert "ZeroDivisionError" in caplog.text
