"""One page that is read: where wrong candidates come from, what is asked of which model, and what is written."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.library.near_pages import find_page
from modeling_comicseq.library.read_page import read_page
from modeling_comicseq.pages.page_rows import Reading

from ..model_inputs import build
from ..page_inputs import save_page_model, sequence_config
from ..pages.made_pages import content
from .page_sets import picture, rows_of, write_pages


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "pages"
    save_page_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    rows = rows_of(counts=(2, 3, 3, 1, 4, 2, 2, 3, 2, 2))
    for number, row in enumerate(rows):  # too small to be candidates
        large = picture(number).resize((160, 240), Image.Resampling.NEAREST)
        row |= {"image": {"bytes": content(large), "path": row["page_name"]}, "size": [160, 240]}
    return write_pages(tmp_path_factory.mktemp("sets") / "pages", rows)


@pytest.fixture(scope="module")
def comics(tmp_path_factory):
    """A folder of pictures: two dark panels on white each, of other greys."""
    folder = tmp_path_factory.mktemp("comics") / "book"
    folder.mkdir()
    for number in range(3):
        pixels = np.full((300, 200), 255, np.uint8)
        pixels[10:140, 10:190] = 20 + 9 * number
        pixels[160:290, 10:190] = 90 + 9 * number
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.png").write_text("no picture either")
    return folder


def test_the_nearest_pages_of_the_book_come_first(pages):
    page, others = find_page("Book 0/4.png", pages, Reading())
    assert page.page_id == "Book 0/4.png" and len(page.boxes) == 4
    names = [other.page_id for other in others]
    assert set(names[:2]) == {"Book 0/2.png", "Book 0/6.png"} and names[2:4] == ["Book 0/0.png", "Book 0/8.png"]
    assert all(name.startswith("Book 1/") for name in names[4:]) and len(names) == 9


def test_a_page_is_found_by_its_row_and_a_picture_beside_a_data_set(pages, comics):
    assert find_page("4", pages, Reading())[0].page_id == "Book 0/4.png"
    page, others = find_page(str(comics / "1.png"), pages, Reading())
    assert page.page_id == "book/1.png" and len(page.boxes) == 2 and len(list(others)) == 10


def test_near_pages_without_panels_or_with_a_fault_are_left_out(tmp_path):
    rows = rows_of(counts=(2, 3, 0, 1, 4, 2))
    rows[0]["image"] = {"bytes": b"no picture", "path": "0.png"}
    folder = write_pages(tmp_path / "pages", rows)
    page, others = find_page("Book 0/4.png", folder, Reading())
    assert len(page.boxes) == 4
    assert {other.page_id for other in others} == {"Book 1/1.png", "Book 1/3.png", "Book 1/5.png"}


def test_a_picture_that_the_data_set_has_is_its_page_with_its_texts_and_not_near_itself(pages, tmp_path):
    file = tmp_path / "copy.png"
    picture(4).resize((160, 240), Image.Resampling.NEAREST).save(file)
    page, others = find_page(str(file), pages, Reading())
    same, _ = find_page("Book 0/4.png", pages, Reading())
    assert page.page_id == "Book 0/4.png" and any(page.texts)
    assert (page.boxes, page.texts, page.origins) == (same.boxes, same.texts, same.origins)
    names = [other.page_id for other in others]
    assert len(names) == 9 and "Book 0/4.png" not in names


def test_a_picture_that_the_data_set_has_is_read_anew_where_it_is_said_how(pages, tmp_path):
    file = tmp_path / "copy.png"
    picture(4).resize((160, 240), Image.Resampling.NEAREST).save(file)
    page, others = find_page(str(file), pages, Reading(reading_direction="rtl"))
    assert page.page_id == f"{tmp_path.name}/copy.png" and page.reading_direction == "rtl"
    names = [other.page_id for other in others]
    assert len(names) == 9 and "Book 0/4.png" not in names


def test_a_picture_of_a_page_without_panels_is_read_anew(tmp_path):
    rows = rows_of(counts=(2, 0, 3))
    rows[0]["image"] = {"bytes": b"no picture", "path": "0.png"}
    rows[0]["size"] = rows[1]["size"]
    folder = write_pages(tmp_path / "pages", rows)
    file = tmp_path / "copy.png"
    picture(1).save(file)
    page, others = find_page(str(file), folder, Reading())
    assert page.page_id == f"{tmp_path.name}/copy.png" and len(page.boxes) == 1 and page.origins["boxes"]
    assert [other.page_id for other in others] == ["Book 0/2.png"]


def test_pictures_of_the_folder_are_near_and_what_cannot_be_read_is_not(comics):
    (comics / "ComicInfo.xml").write_text("<ComicInfo><Manga>YesAndRightToLeft</Manga></ComicInfo>")
    page, others = find_page(str(comics / "0.png"), None, Reading())
    assert page.reading_direction == "rtl" and page.origins["boxes"] == "gutter cut"
    assert [other.page_id for other in others] == ["book/1.png", "book/2.png"]


@pytest.mark.slow
def test_a_page_is_asked_about_and_drawn(pages, model, tmp_path):
    first = read_page("Book 0/4.png", model, tmp_path / "one.png", pages=pages)
    again = read_page("4", model, tmp_path / "two.png", pages=pages)
    other = read_page("4", model, tmp_path / "two.png", pages=pages, panel=0, seed=1)  # its own output it may replace
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width == 1100
    report = json.loads((tmp_path / "one.json").read_text())
    assert report["page"] == "Book 0/4.png" and len(report["panels"]) == 4
    assert sorted(report["order"]["order"]) == [0, 1, 2, 3]
    picking, closure, cloze = report["questions"]
    assert (picking["panel"], closure["panel"]) == (2, 3)
    for question in (picking, closure, cloze):
        right = question["candidates"][question["truth"]]
        assert (right["page"], right["panel"]) == ("Book 0/4.png", question["panel"])
        wrong = {each["page"] for each in question["candidates"]} - {"Book 0/4.png"}
        assert wrong == {"Book 0/0.png", "Book 0/2.png", "Book 0/6.png", "Book 0/8.png"}
        scores = [each["score"] for each in question["candidates"]]
        assert sum(scores) == pytest.approx(1, abs=1e-5) and question["answer"] == int(np.argmax(scores))
    texts = [each["text"] for each in cloze["candidates"]]
    assert texts[cloze["truth"]] == "page 4 panel 1" and len(set(texts)) == 5  # panel 2 has no text
    assert [each.sources for each in first.asked] == [each.sources for each in again.asked]
    assert [each.sources for each in first.asked] != [each.sources for each in other.asked]


@pytest.mark.slow
def test_without_texts_and_with_few_pages_less_is_asked(comics, model, tmp_path):
    words = ["read", str(comics / "0.png"), "--model", model, "--output", str(tmp_path / "page.png")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "book/0.png: 2 panels, no texts" in done.output and "Panel 2 was taken" in done.output
    questions = json.loads((tmp_path / "page.json").read_text())["questions"]
    assert [question["panel"] for question in questions] == [1, 1]  # nothing is said that could be asked for
    assert {each["page"] for each in questions[0]["candidates"]} == {"book/0.png", "book/1.png", "book/2.png"}
    assert len(questions[0]["candidates"]) == 5  # two of each of the other pages


@pytest.mark.slow
def test_words_in_brackets_are_shown_as_they_are(model, tmp_path):
    rows = rows_of(counts=(2, 2))
    rows[0]["texts"] = [["[SIGH]"], ["[/door] closes"]]
    folder = write_pages(tmp_path / "pages", rows)
    words = ["read", "0", "--model", model, "--pages", str(folder), "--output", str(tmp_path / "page.png")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "[SIGH]" in done.output and "[/door] closes" in done.output


def test_of_picture_and_json_both_are_written_or_none(pages, model, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fails)
    with pytest.raises(ComicSeqDataError, match="space"):
        read_page("4", model, tmp_path / "page.png", pages=pages)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_of_a_head_alone_its_own_question_is_asked(pages, tmp_path):
    save_page_model(tmp_path / "head", "panel_picking")
    reading = read_page("4", str(tmp_path / "head"), tmp_path / "page.png", pages=pages)
    assert [asked.task.name for asked in reading.asked] == ["panel_picking"] and reading.order is None


def test_what_cannot_be_read_is_said(pages, comics, model, tmp_path):
    output = tmp_path / "page.png"
    with pytest.raises(ComicSeqArgumentError, match=r"has no page 'Book 0/44.png'.*did you mean `Book 0/4.png`"):
        read_page("Book 0/44.png", model, output, pages=pages)
    with pytest.raises(ComicSeqArgumentError, match="there is no panel 5"):
        read_page("4", model, output, pages=pages, panel=4)
    with pytest.raises(ComicSeqArgumentError, match="is to be a PNG file"):
        read_page("4", model, tmp_path / "page.jpg", pages=pages)
    with pytest.raises(ComicSeqArgumentError, match="no file.*--pages"):
        read_page("4", model, output)
    with pytest.raises(ComicSeqDataError, match="broken.png: .*save it again"):
        read_page(str(comics / "broken.png"), model, output)
    build("pretraining", sequence_config()).save_pretrained(tmp_path / "vectors")
    with pytest.raises(ComicSeqDataError, match="takes vectors and no pages: .*export --encoder"):
        read_page("4", str(tmp_path / "vectors"), output, pages=pages)
    (tmp_path / "page.json").write_text("{}")
    with pytest.raises(ComicSeqDataError, match="page.json exists"):
        read_page("4", model, output, pages=pages)
    assert not output.exists()
