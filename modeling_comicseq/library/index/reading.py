"""An index that is open: its pages and books, and searches in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from ...errors import ComicSeqDataError
from ...stores.names import normal_form, normal_path
from ...urls import is_url
from .encoding import QueryEncoder
from .engine import PANELS, STRIPS, connect, engine_faults, kept_by_updates, named, quote, read_about
from .rows import INNER
from .searching import Hit, Level, PanelId, Space, search

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Index", "open_index"]


@dataclass
class Index:
    """An open index.

    Attributes:
        url: Where it is.
        about: What it says of itself, see `build_index`.
        strips: Its table of strips, as it was when the index was complete.
        panels: Its table of panels.
        encoders: What reads texts and pictures that are searched for.
    """

    url: str
    about: dict[str, Any]
    strips: Any = field(repr=False)
    panels: Any = field(repr=False)
    encoders: QueryEncoder = field(repr=False)

    def __len__(self) -> int:
        return self.about["counts"]["pages"]

    @property
    def width(self) -> int:
        """Width of its strip and panel vectors."""
        return self.about["store"]["width"]

    @property
    def has_words(self) -> bool:
        """Whether one of its pages has a text."""
        return self.about["counts"]["pages_with_words"] > 0

    @property
    def has_encoder_vectors(self) -> bool:
        """Whether it holds the panel encoder's own vectors beside those of the model."""
        return self.about["embeddings"] is not None

    def renewed(self) -> Index | None:
        """The index as it is now, where it was brought up to date since it was opened; else None.

        Who has an index open reads on as it was, until a day after an update has replaced that.

        Raises:
            ComicSeqDataError: It is there no more, or cannot be read.
        """
        about, strips, panels = _open(self.url)
        if about["tables"] == self.about["tables"] and about["state"] == self.about["state"]:
            return None
        if kept_by_updates(about) != kept_by_updates(self.about):  # made anew: another index
            return None
        return replace(self, about=about, strips=strips, panels=panels)

    def columns(self, level: str = "strip") -> list[str]:
        """Columns that filters can use: of pages, or of panels."""
        table = self.panels if level == "panel" else self.strips
        return [name for name in table.schema.names if name not in INNER]

    def find_row(self, page: str | int) -> int:
        """The row of the page with this id in any spelling, or else with this number of a row.

        Raises:
            ComicSeqDataError: There is none, with the nearest id where one is similar.
        """
        page = str(page)
        for where in (f"page_id = {quote(page)}", f"page_key = {quote(normal_path(page))}"):
            rows = self._select(self.strips, where, ["row"])
            if rows:
                return min(each["row"] for each in rows)
        page = page.strip()
        if page.isascii() and page.isdecimal() and len(page) < 16:
            if self._select(self.strips, f"row = {int(page)}", ["row"]):
                return int(page)
            raise ComicSeqDataError(f"{self.url} has no row {int(page)}: it has {len(self):,} pages")
        # Comparing with a million ids takes minutes: only those of the same folder or the same name are compared.
        folder, _, name = page.rpartition("/")
        near = f"starts_with(page_id, {quote(folder + '/')}) or ends_with(page_id, {quote('/' + name)})"
        ids = [each["page_id"] for each in self._select(self.strips, near, ["page_id"], 2000)]
        ids = ids or [each["page_id"] for each in self._select(self.strips, None, ["page_id"], 2000)]
        match = get_close_matches(page[:1000], ids, n=1)
        hint = f"did you mean {match[0]!r}?" if match else f"its ids look like {ids[0]!r}"
        raise ComicSeqDataError(f"{self.url} has no page {named(page)}; {hint}")

    def page(self, page: str | int) -> dict[str, Any]:
        """All that the index knows of a page but its vectors, by its id in any spelling, or its row.

        Returns:
            `page_id`, `book_id`, `page_name`, `page_index`, `row`, `num_panels`, `panel_boxes` `[[x0, y0, x1, y1]…]` or
            None, `texts` (a list a panel) or None, `reading_direction`, `picture` (a small JPEG's bytes) or None, and what
            else the metadata say.

        Raises:
            ComicSeqDataError: There is no such page.
        """
        hidden = [name for name in INNER if name not in ("picture", "metadata")]
        names = [name for name in self.strips.schema.names if name not in hidden]
        (found,) = self._select(self.strips, f"row = {self.find_row(page)}", names)
        return _shown(found)

    def pages(self, book_id: str | None = None) -> list[dict[str, Any]]:
        """The pages of a book in their order, or of all books: as `page`, without pictures, texts and further fields."""
        names = ["row", "page_id", "book_id", "page_name", "page_index", "num_panels", "reading_direction"]
        where = None
        if book_id is not None:
            known = {normal_form(each["book_id"]): each["book_id"] for each in self.books()}
            if normal_form(book_id) not in known:
                match = get_close_matches(book_id[:1000], list(known.values())[:20_000], n=1)
                hint = (
                    f"did you mean {match[0]!r}?" if match else f"its books look like {next(iter(known.values()))!r}"
                )
                raise ComicSeqDataError(f"{self.url} has no book {named(book_id)}; {hint}")
            where = f"book_id = {quote(known[normal_form(book_id)])}"
        found = self._select(self.strips, where, names)
        return sorted(found, key=lambda page: (page["book_id"], page["page_index"], page["row"]))

    def books(self) -> list[dict[str, Any]]:
        """The books in the order of their ids: `book_id`, `pages` and `panels` of each."""
        return [dict(book) for book in self._books]

    @cached_property
    def _books(self) -> list[dict[str, Any]]:
        with engine_faults(self.url):
            table = self.strips.search().select(["book_id", "num_panels"]).to_arrow()
        grouped = table.group_by("book_id").aggregate([("num_panels", "count"), ("num_panels", "sum")])
        return [
            {"book_id": row["book_id"], "pages": row["num_panels_count"], "panels": row["num_panels_sum"]}
            for row in grouped.sort_by("book_id").to_pylist()
        ]

    def search(
        self,
        *,
        text: str | None = None,
        image: Image | bytes | str | os.PathLike | None = None,
        page: str | int | None = None,
        panel: PanelId | None = None,
        vector: Any = None,
        words: str | None = None,
        where: str | None = None,
        level: Level | None = None,
        k: int = 10,
        other_books: bool = False,
        hybrid: bool = True,
        space: Space | None = None,
    ) -> list[Hit]:
        """Finds the pages, panels or books nearest to what is asked for.

        Strips and panels lie in different spaces and are never compared with each other: panels near a *page* are those
        near one of its panels, and pages near a *panel* are ranked by their nearest panel. A text and a picture are read
        by the panel encoder that made the store, as a panel of words or of a picture alone. They are compared with the
        encoder's own vectors, those of panels and their means over pages, where the index holds them (`embeddings`); a
        text or a picture by itself with those of texts or of pictures alone, where the encoder's store has them; else with
        strips and panels of the model, through which they go as a page of one panel. Of several queries the mean of
        their unit vectors is taken. Words are looked for in the texts; beside vectors, the two rankings are joined by the
        sum of their reciprocal ranks. What is asked for is not among the results: the page with all its panels, or the
        one panel, also where the page stands twice, by its path or by equal vectors.

        Args:
            text: What is seen or said.
            image: A picture of a panel: pixels, a file's content or its path.
            page: A page by its `canonical_id` in any spelling, or its row.
            panel: The page of a panel, as above, and its place among the panels of that, from 0.
            vector: A vector `(D,)` or `(1, D)` of the model that made the store.
            words: Words in the texts; by default those of `text`, where the index holds texts.
            where: A filter in SQL on the columns, such as `book_id = 'one' and num_panels > 3`.
            level: "strip", "panel" or "book", which gives the best page of each book; by default panels for a panel, else
                strips.
            k: How many.
            other_books: Leave out the book of the page or panel that is asked for.
            hybrid: Whether the words of `text` are looked for in the texts, too.
            space: "model" or "encoder": whose vectors are compared, if not those that are said above.

        Returns:
            The hits, best first; fewer than `k` where there are no more.

        Raises:
            ComicSeqArgumentError: The query or the filter is not possible.
            ComicSeqDataError: The index does not have what is asked for, or the encoder is not that of the index.
        """
        asked = {"text": text, "image": image, "page": page, "panel": panel, "vector": vector, "words": words}
        how = {"where": where, "level": level, "k": k, "other_books": other_books, "hybrid": hybrid, "space": space}
        return search(self, **asked, **how)  # type: ignore[arg-type]

    def vectors(self, level: str, where: str, column: str = "vector") -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Vectors `(n, D)` and `row`, `slot` of the pages or panels of which `where` holds."""
        table = self.panels if level == "panel" else self.strips
        names = ["row", "slot"] if level == "panel" else ["row"]
        with engine_faults(self.url):
            found = table.search().where(f"({where}) and {column} is not null").select([*names, column]).to_arrow()
        flat = found[column].combine_chunks()
        width = flat.type.list_size
        return flat.flatten().to_numpy().reshape(-1, width), found.select(names).to_pylist()

    def sample(self, most: int, seed: int = 0) -> tuple[list[dict[str, Any]], np.ndarray]:
        """Pages that are drawn from all with a vector, at most so many: `row`, `page_id`, `book_id`, and vectors `(n, D)`."""
        names = ["row", "page_id", "book_id"]
        with engine_faults(self.url):
            total = self.strips.count_rows()
            drawn = np.arange(total)
            if total > most:
                drawn = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
            found = self.strips.take_offsets(drawn.tolist()).select([*names, "vector"]).to_arrow()
            found = found.filter(found["vector"].is_valid())
        vectors = found["vector"].combine_chunks().flatten().to_numpy().reshape(len(found), self.width)
        return found.select(names).to_pylist(), vectors.astype(np.float32)

    def _select(self, table: Any, where: str | None, names: list[str], limit: int | None = None) -> list[dict]:
        with engine_faults(self.url):
            query = table.search().select(names)
            query = query if where is None else query.where(where)
            return (query if limit is None else query.limit(limit)).to_arrow().to_pylist()


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a table as people read it."""
    row = dict(row)
    metadata = row.pop("metadata", None)
    if row.get("panel_boxes") is not None:
        flat = row["panel_boxes"]
        row["panel_boxes"] = [flat[at : at + 4] for at in range(0, len(flat), 4)]
    return (orjson.loads(metadata) if metadata else {}) | row


def open_index(path: str | os.PathLike, *, encoder: str | None = None, model: str | None = None) -> Index:
    """Opens an index.

    Args:
        path: A folder, or a URL that LanceDB takes.
        encoder: The panel encoder that made the store, see `load_panel_encoder`; by default the one that it names.
        model: The model that made the strips, by default the one that the store names.

    Raises:
        ComicSeqDataError: There is none, it is not complete, or LanceDB is not installed.
    """
    url = os.fspath(path)
    about, strips, panels = _open(url)
    return Index(url, about, strips, panels, QueryEncoder(about, url, encoder, model))


def _open(url: str) -> tuple[dict[str, Any], Any, Any]:
    """What an index says of itself, and its two tables as it says that they are."""
    if not is_url(url) and not Path(url).is_dir():
        raise ComicSeqDataError(f"{url} is no index: make one with `comicseq index --store STORE --output {url}`")
    database = connect(url)
    with engine_faults(url):
        about = read_about(database)
        if about is None or not about.get("complete"):
            raise ComicSeqDataError(f"{url} is no complete index: make it with `comicseq index --output {url}`")
        tables = {}
        for name in (STRIPS, PANELS):
            tables[name] = database.open_table(name)
            tables[name].checkout(about["tables"][name])
    return about, tables[STRIPS], tables[PANELS]
