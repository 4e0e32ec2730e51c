"""Transcripts of books: page by page and panel by panel in reading order, who speaks where that is known, and the text.

They are for people who do not see the pages and for programs: Markdown with headings in order, which screen readers step
through, and JSON.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import counted
from ..files import write_json, write_text, written_folder
from ..outputs import check_output
from ..progress import progress_bar
from .known_pages import KnownPage, KnownPages

__all__ = ["file_names", "transcribe", "write_transcripts"]

_DIRECTIONS = {"ltr": "from left to right", "rtl": "from right to left"}
# Everywhere in a line, and at its beginning, where they would begin a list, a heading or a rule.
_SIGNS = re.compile(r"([\\`*_\[\]|~^$])")
_FIRST = re.compile(r"^([#+=-]|\d+(?=[.)](?:\s|$)))")
# Controls, and what turns the direction of the text around it, but not marks that belong to a script.
_CONTROLS = re.compile("[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]")
_NAME = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 80  # characters of a file's name


def write_transcripts(
    pages: KnownPages, folder: Path, language: str | None = None, overwrite: bool = False, progress: bool = False
) -> int:
    """Writes `BOOK.md` and `BOOK.json` for each book into a folder, which appears complete or not at all.

    Args:
        pages: The pages.
        folder: The folder to make.
        language: Language of the texts, where the pages do not tell.
        overwrite: Replace a folder that is there.
        progress: Show progress on stderr.

    Returns:
        The number of books.

    Raises:
        ComicSeqDataError: A page cannot be understood, or the folder cannot be written.
    """
    check_output(folder, overwrite=overwrite, folder=True)
    names = file_names(pages.books)
    with (
        written_folder(folder, overwrite) as beside,
        progress_bar("Writing transcripts", len(names), progress) as advance,
    ):
        for book, name in names.items():
            transcript = transcribe(book, [pages.page(place) for place in pages.books[book]], language)
            write_json(beside / f"{name}.json", transcript)
            write_text(beside / f"{name}.md", _markdown(transcript))
            advance(1)
    return len(names)


def transcribe(book: str, pages: Sequence[KnownPage], language: str | None = None) -> dict[str, Any]:
    """The transcript of a book, as its JSON file holds it.

    Args:
        book: Its id.
        pages: Its pages in order.
        language: Language of the texts, where the pages do not tell.
    """
    languages = {page.language for page in pages if page.language} or ({language} if language else set())
    directions = {page.reading_direction for page in pages}
    return {
        "book_id": book,
        "language": languages.pop() if len(languages) == 1 else None,
        "reading_direction": directions.pop() if len(directions) == 1 else None,
        "pages": [
            {
                "page": number,
                "page_name": page.page_name,
                "page_id": page.page_id,
                **({"language": page.language} if page.language else {}),
                **({"reading_direction": page.reading_direction} if page.reading_direction else {}),
                "panels": [
                    {
                        "panel": place,
                        "lines": [
                            {"speaker": _clean(speaker or "") or None, "text": _clean(text)}
                            for text, speaker in zip(
                                panel.texts, panel.speakers or [None] * len(panel.texts), strict=True
                            )
                        ],
                        "description": _clean(panel.caption or "") or None,
                    }
                    for place, panel in enumerate(page.panels, start=1)
                ],
            }
            for number, page in enumerate(pages, start=1)
        ],
    }


def file_names(books: Iterable[str]) -> dict[str, str]:
    """A name for the files of each book, without an ending: letters, digits, dots and dashes, no two alike in any case."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for book in books:
        short = _NAME.sub("_", unicodedata.normalize("NFC", book)).strip("._")[:_LONGEST_NAME] or "book"
        # File systems count bytes, and some take no difference of upper case.
        while len(short.encode()) > 200:
            short = short[:-1]
        name, number = short, 2
        while name.casefold() in taken:
            name, number = f"{short}-{number}", number + 1
        taken.add(name.casefold())
        names[book] = name
    return names


def _clean(text: str) -> str:
    """One line of text without controls."""
    return " ".join(_CONTROLS.sub(" ", text).split())


def _escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    text = _SIGNS.sub(r"\\\1", _clean(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _FIRST.sub(lambda found: f"\\{found[0]}" if not found[0][0].isdigit() else f"{found[0]}\\", text)


def _markdown(transcript: dict[str, Any]) -> str:
    pages, language = transcript["pages"], transcript["language"]
    title = f"Transcript of {_clean(transcript['book_id'])}"
    lines = ["---", f"title: {json.dumps(title, ensure_ascii=False)}"]
    lines += [f"lang: {language}"] if language else []
    lines += ["---", "", f"# {_escape(title)}", ""]
    panels = sum(len(page["panels"]) for page in pages)
    facts = [counted(len(pages), "page"), counted(panels, "panel")]
    direction = transcript["reading_direction"]
    facts += [f"read {_DIRECTIONS[direction]}"] if direction else []
    lines += [f"{', '.join(facts)}.", ""]
    for page in pages:
        lines += [f"## Page {page['page']}: {_escape(page['page_name'])}", ""]
        if not direction and page.get("reading_direction"):
            lines += [f"Read {_DIRECTIONS[page['reading_direction']]}.", ""]
        if not page["panels"]:
            lines += ["No panels.", ""]
        for panel in page["panels"]:
            lines += [f"### Page {page['page']}, panel {panel['panel']}", ""]
            if panel["description"]:
                lines += [f"Description: {_escape(panel['description'])}", ""]
            for line in panel["lines"]:
                speaker = f"**{_escape(line['speaker'])}:** " if line["speaker"] else ""
                lines += [speaker + _escape(line["text"]), ""]
            if not panel["lines"]:
                lines += ["No text.", ""]
    return "\n".join(lines)
