"""The folder of drawn books: a folder of pictures a book, and one `panels.json` about them all."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ComicSeqArgumentError, check_at_least, counted
from ...files import write_text, written_folder
from ...outputs import check_output
from ...progress import progress_bar
from ..comic_info import COMIC_INFO
from ..processes import in_processes
from .book import draw_book
from .corpus import fingerprint

LEAST_WIDTH, MOST_WIDTH = 64, 4000
README = """# Drawn comics

{of_books} of {of_pages}, drawn by `comicseq draw --books {books} --pages {pages} --seed {seed} --width {width}`.

`panels.json` has one object a page: `book_id`, `page_index`, `image`, `size` (width and height in pixels), `direction`
(`ltr` or `rtl`) and `panels` in reading order. Boxes are `[x0, y0, x1, y1]` in pixels. A panel has its `box`; `text`, one
string a balloon or box of narration as it is lettered, in reading order, with `speakers` (null: narration),
`text_boxes` (the letters) and `balloon_boxes`; `caption`, what is shown in words; `character_ids`, who is in the picture
from left to right, with `face_boxes`; and `state`: the `action`, and what can be seen `before` and `after` it.

No rights are reserved: everything here was made by a program and is nobody's work. Use it for anything, as under
[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/). The letters are of the font Delius (SIL Open Font License 1.1),
whose licence does not extend to what is lettered with it.

Fingerprint of `panels.json`: `{fingerprint}` (stories, layouts and words, not pixels).
"""


def write_books(
    output: Path,
    books: int,
    seed: int = 0,
    pages: int = 8,
    width: int = 850,
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> tuple[int, int]:
    """Draws books into a folder.

    The same arguments give the same `panels.json` on any machine, and the same pictures with the same version of Pillow.

    Args:
        output: The folder to create.
        books: How many books.
        seed: Seed of all that is drawn; book 3 of a seed is the same in any number of books.
        pages: Pages of a book.
        width: Width of a single page in pixels; spreads are twice as wide.
        num_proc: Processes that draw.
        overwrite: Whether to replace a folder that is there already.
        progress: Whether to show a progress bar.

    Returns:
        How many pages and panels were drawn.

    Raises:
        ComicSeqArgumentError: A number is not possible.
        ComicSeqDataError: `output` exists or cannot be written.
    """
    for name, value in (("books", books), ("pages", pages), ("num_proc", num_proc)):
        check_at_least(name, value, 1)
    if not LEAST_WIDTH <= width <= MOST_WIDTH:
        raise ComicSeqArgumentError(f"`width` is {width} but must be from {LEAST_WIDTH} to {MOST_WIDTH} pixels.")
    check_output(output, overwrite=overwrite, folder=True)
    drawn: dict[int, list[dict[str, Any]]] = {}
    with written_folder(Path(output), overwrite) as folder:
        draw = partial(_draw_into, folder, seed, pages, width)
        with progress_bar("Drawing books", books, progress) as advance:
            for book, about in in_processes(draw, range(books), num_proc):
                drawn[book] = about
                advance(1)
        entries = [entry for book in range(books) for entry in drawn[book]]
        write_text(folder / "panels.json", "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")
        readme = README.format(
            of_books=counted(books, "book"),
            of_pages=counted(pages, "page"),
            books=books,
            pages=pages,
            seed=seed,
            width=width,
            fingerprint=fingerprint(entries),
        )
        write_text(folder / "README.md", readme)
    return len(entries), sum(len(entry["panels"]) for entry in entries)


def _draw_into(folder: Path, seed: int, pages: int, width: int, book: int) -> list[dict[str, Any]]:
    """Draws a book into its folder, and returns its entries of `panels.json`."""
    entries = []
    for image, entry in draw_book(seed, book, pages, width):
        path = folder / entry["image"]
        path.parent.mkdir(exist_ok=True)
        image.save(path, "PNG", compress_level=6)
        entries.append(entry)
    if entries[0]["direction"] == "rtl":  # as comic readers and taggers say it, for who has the pictures alone
        write_text(path.parent / COMIC_INFO, "<ComicInfo><Manga>YesAndRightToLeft</Manga></ComicInfo>\n")
    return entries
