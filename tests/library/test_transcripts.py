from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from modeling_comicseq.cli import app
from modeling_comicseq.library.export_table import export_transcripts
from modeling_comicseq.library.known_pages import KnownPage, PagesOfSet
from modeling_comicseq.library.transcripts import _markdown, file_names, transcribe, write_transcripts
from modeling_comicseq.pages.annotations import PanelAnnotation

from ..stores.vector_stores import write_store
from .page_sets import rows_of, write_pages

SHARED_DATA = os.environ.get("COMICSEQ_DATA", "")


def page(*panels: list, name: str = "1.png", language: str | None = None, direction: str | None = "ltr") -> KnownPage:
    """A page whose panels say lines, each a text or a speaker and a text."""
    said = [[line if isinstance(line, tuple) else (None, line) for line in panel] for panel in panels]
    return KnownPage(
        f"book/{name}",
        "book",
        name,
        direction,
        language,
        [PanelAnnotation(None, [t for _, t in lines], [s for s, _ in lines], None, None) for lines in said],
    )


def blocks(markdown: str) -> list[tuple[str, str]]:
    """The headings and paragraphs that a reader of Markdown sees, with their text as it is shown."""
    text = markdown.split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    shown = []
    for place, token in enumerate(tokens):
        assert token.type in ("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline"), token
        if token.type == "inline":
            assert {each.type for each in token.children} <= {"text", "strong_open", "strong_close", "text_special"}
            shown.append((tokens[place - 1].tag, "".join(each.content for each in token.children)))
    return shown


def test_a_transcript_reads_as_the_book():
    pages = [page([("Pepper", "Where is Carrot?"), "PLOP"], []), page(["The end."], name="2.png")]
    transcript = transcribe("book", pages, "en")
    assert transcript["language"] == "en" and transcript["reading_direction"] == "ltr"
    assert transcript["pages"][0]["panels"][0]["lines"] == [
        {"speaker": "Pepper", "text": "Where is Carrot?"}, {"speaker": None, "text": "PLOP"}
    ]  # fmt: skip
    markdown = _markdown(transcript)
    assert markdown.startswith('---\ntitle: "Transcript of book"\nlang: en\n---\n')
    assert blocks(markdown) == [
        ("h1", "Transcript of book"),
        ("p", "2 pages, 3 panels, read from left to right."),
        ("h2", "Page 1: 1.png"),
        ("h3", "Page 1, panel 1"),
        ("p", "Pepper: Where is Carrot?"),
        ("p", "PLOP"),
        ("h3", "Page 1, panel 2"),
        ("p", "No text."),
        ("h2", "Page 2: 2.png"),
        ("h3", "Page 2, panel 1"),
        ("p", "The end."),
    ]


TEXTS = [
    "# a heading", "1. a list", "2) another", "- a rule", "---", "===", "+ more", "* stars *", "_low_", "`code`", "> quote",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt; &copy;", "[a](javascript:alert(1))",
    "![a](http://x/y.png)", "| a | b |", "~~gone~~", "\\*", "a\n\n# b", "    code", "a\u202eb", "x\x00y\x1b[31m", "12", "3.5",
    "[a]: http://x", "“Wer?” – „漫画“", "trailing  \n", "```\nfence",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_is_taken_for_markup(text):
    # As a text, as a speaker, and as the name of a page.
    shown = blocks(_markdown(transcribe(text, [page([text, (text, "hi")], name=text)])))
    plain = " ".join(re.sub("[\x00-\x1f\u202e]", " ", text).split())
    assert [each for each in shown if each[0] == "p"][1:] == [("p", plain), ("p", f"{plain}: hi")]
    assert [each for each in shown if each[0] == "h2"] == [("h2", f"Page 1: {plain}")]


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_texts_are_shown_as_they_are(text):
    shown = blocks(_markdown(transcribe("b", [page([text])])))
    plain = " ".join(re.sub("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", " ", text).split())
    assert [each for each in shown if each[0] == "p"][1:] == [("p", plain)] * bool(plain) or not plain


def test_languages_and_directions_are_told_where_pages_agree():
    mixed = [page(["a"], language="en"), page(["b"], language="fr", direction="rtl")]
    transcript = transcribe("b", mixed, "de")
    assert transcript["language"] is None and transcript["reading_direction"] is None
    assert [each["language"] for each in transcript["pages"]] == ["en", "fr"]
    assert ("p", "Read from right to left.") in blocks(_markdown(transcript))
    assert transcribe("b", [page(["a"], language="en"), page(["b"])])["language"] == "en"


@pytest.mark.parametrize(
    "books", [["a/b", "a_b", "A_B"], ["../x", "..", ".", "/"], ["漫" * 300, "x" * 300, "y"], ["a\x00b", " ", "CON"]]
)
def test_each_book_has_files_of_its_own(books):
    names = file_names(books)
    assert len({name.casefold() for name in names.values()}) == len(books)
    for name in names.values():
        assert name == Path(name).name and len(name.encode()) <= 210 and not name.startswith(".")


def test_books_of_a_data_set_stand_in_order(tmp_path):
    rows = rows_of()
    rows = rows[::-1]  # by `page_index`, wherever they stand
    pages = PagesOfSet(str(write_pages(tmp_path / "pages", rows)))
    assert write_transcripts(pages, tmp_path / "out", progress=False) == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"Book_{number}.{ending}" for number in (0, 1) for ending in ("md", "json")
    }
    book = json.loads((tmp_path / "out" / "Book_1.json").read_text())
    assert [each["page_name"] for each in book["pages"]] == [f"{number}.png" for number in (1, 3, 5, 7, 9)]
    assert book["reading_direction"] == "rtl"
    lines = book["pages"][0]["panels"][1]["lines"]
    assert [each["text"] for each in lines] == ["page 1", "panel 1"]
    assert "Description: caption 0 0" in (tmp_path / "out" / "Book_0.md").read_text()


def test_books_of_a_store_stand_in_the_order_that_its_metadata_tell(tmp_path):
    names = ["cover.png", "1.png", "2.png", "back.png"]
    entries = [
        {"sequence_index": row, "num_panels": 1, "book_id": "b", "page_name": name, "canonical_id": f"b/{name}"}
        | {"page_index": row, "texts": [name], "note": "\ud800"}
        for row, name in enumerate(names)
    ]
    made = write_store(tmp_path, np.eye(4, 8)[:, None], np.ones((4, 1), bool), np.zeros(4, int))
    for told, order in ((entries, names), (entries[:1] + [entries[1] | {"page_index": None}, *entries[2:]], None)):
        Path(made.metadata).write_text(json.dumps(told))
        export_transcripts(tmp_path / "out", store=made.url, overwrite=True)
        pages = json.loads((tmp_path / "out" / "b.json").read_text())["pages"]
        assert [page["page_name"] for page in pages] == (order or ["1.png", "2.png", "back.png", "cover.png"])


@pytest.mark.skipif(not SHARED_DATA, reason="COMICSEQ_DATA names no folder of comics")
def test_speakers_of_real_strips(tmp_path):
    entries = json.loads((Path(SHARED_DATA) / "mimi_eunice" / "panels.json").read_text())[:20]
    rows = []
    for row, entry in zip(rows_of(tuple(len(entry["panels"]) for entry in entries)), entries, strict=True):
        said = [panel["text"] for panel in entry["panels"]]
        speakers = [panel.get("speakers") for panel in entry["panels"]]
        rows.append(row | {"book_id": "mimi", "page_index": len(rows), "texts": said, "speakers": speakers})
    write_pages(tmp_path / "pages", rows)
    command = [
        "export-table",
        "--pages",
        str(tmp_path / "pages"),
        "--transcripts",
        str(tmp_path / "out"),
        "--language",
        "en",
    ]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code == 0 and "transcripts of 1 book" in result.output, result.output
    markdown = (tmp_path / "out" / "mimi.md").read_text()
    assert "**M:** WELL AREN'T \\*YOU\\* A MARTYR!" in markdown and "lang: en" in markdown
    shown = blocks(markdown)
    assert ("p", "M: WELL AREN'T *YOU* A MARTYR!") in shown
    assert isinstance(Dataset.from_list(json.loads((tmp_path / "out" / "mimi.json").read_text())["pages"]), Dataset)
