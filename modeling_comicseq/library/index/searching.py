"""Searches in an index: what is asked for, what is left out, and what is nearest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import ComicSeqArgumentError, ComicSeqDataError
from ...vectors import unit
from .encoding import open_picture
from .engine import engine_faults, quote, said, valid
from .filters import compile_filter
from .rows import INNER

if TYPE_CHECKING:
    from .reading import Index

__all__ = ["Hit", "Level", "PanelId", "Space", "search"]

PanelId = tuple[str | int, int]
Level = Literal["strip", "panel", "book"]
LEVELS = ("strip", "panel", "book")
# Of the model that made the strips, or of the panel encoder before it, whose page vectors are means of its panels.
Space = Literal["model", "encoder"]
SPACES = ("model", "encoder")
MOST = 10_000  # hits
_LONGEST_WORDS = 10_000  # characters
# Where vectors are clustered: clusters that are looked through, and how many times as many vectors as are wanted are compared
# again as they are. Of the exact ten nearest among a million panels this finds all.
PROBES, REFINED = 50, 2


@dataclass
class Hit:
    """A page, a panel, or the best page of a book.

    Attributes:
        rank: From 1 on.
        page_id: The page's `canonical_id`, with its book before it where pages of several books have it.
        book_id: Its book.
        row: Its row of the store.
        slot: The panel's place among those of its page, from 0; None where whole pages were compared.
        score: Cosine with the query; with words alone their BM25; with both the sum of reciprocal ranks.
        fields: The page's or panel's other columns.
    """

    rank: int
    page_id: str
    book_id: str
    row: int
    slot: int | None
    score: float
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Asked:
    """What is searched for.

    Attributes:
        among: "strip" or "panel": the table that is searched.
        column: Its column of vectors.
        vectors: Query vectors of length 1 `(n, D)`, none for words alone; of several, the nearest counts.
        words: Words that are looked for in the texts.
        left_out: Rows that are not to be found, whatever their slot.
        left_out_panels: Rows and slots that are not.
    """

    among: str = "strip"
    column: str = "vector"
    vectors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    words: str | None = None
    left_out: set[int] = field(default_factory=set)
    left_out_panels: set[tuple[int, int]] = field(default_factory=set)
    books: set[str] = field(default_factory=set)


def search(
    index: Index,
    *,
    text: str | None = None,
    image: Any = None,
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
    """See `Index.search`."""
    level = level or ("panel" if panel is not None else "strip")
    if level not in LEVELS:
        raise ComicSeqArgumentError(f"level {level!r} is not possible: give strip, panel or book")
    if not 1 <= k <= MOST:
        raise ComicSeqArgumentError(f"k is {k} but must be at least 1 and at most {MOST:,}")
    if all(each is None for each in (text, image, page, panel, vector, words)):
        raise ComicSeqArgumentError("name what to search for: a text, an image, a page, a panel, a vector or words")
    if words is None and text is not None and hybrid and index.has_words:
        words = text
    if words is not None:
        _check_words(index, words)
    asked = _Asked(among="panel" if panel is not None or level == "panel" else "strip", words=words)
    given = [name for name, each in (("text", text), ("visual", image), ("", page), ("", panel)) if each is not None]
    asked.column = _column(index, given, vector is not None, space)
    queries = []
    if text is not None:
        queries.append(_encoded(index, asked, index.encoders.panel(text=text), is_text=True))
    if image is not None:
        queries.append(_encoded(index, asked, index.encoders.panel(image=open_picture(image)), is_text=False))
    if page is not None:
        queries.append(_page(index, asked, page))
    if panel is not None:
        queries.append(_panel(index, asked, panel, level))
    if vector is not None:
        queries.append(check_vector(vector, index.width, index.url)[None])
    if queries:
        asked.vectors = unit(queries[0])
        if len(queries) > 1 or words is not None:  # each query counts alike
            means = [unit(unit(each).mean(axis=0)) for each in queries]
            asked.vectors = unit(np.mean(means, axis=0, keepdims=True))
            if not asked.vectors.any():
                raise ComicSeqArgumentError("the queries are opposite to one another: leave one out")
    conditions = []
    if where is not None:
        conditions.append(compile_filter(valid(where), index.columns(asked.among)))
    if other_books:
        if not asked.books:
            raise ComicSeqArgumentError("other_books leaves out the query's book: ask for a page or a panel")
        conditions.append(f"book_id not in ({', '.join(map(quote, sorted(asked.books)))})")
    table = index.panels if asked.among == "panel" else index.strips
    return _nearest(index, table, asked, " and ".join(conditions) or None, level, k)


def _check_words(index: Index, words: str) -> None:
    if not words.strip() or len(words) > _LONGEST_WORDS:
        what = "empty" if not words.strip() else f"{len(words):,} characters long"
        raise ComicSeqArgumentError(f"the words to look for are {what}: give some, of at most {_LONGEST_WORDS:,}")
    if not index.has_words:
        raise ComicSeqDataError(
            f"{index.url} holds no texts to look for words in: index a store whose metadata have them, or give --pages"
        )


def _column(index: Index, given: list[str], has_vector: bool, space: Space | None) -> str:
    """The column of vectors that all queries are compared with; a text or a picture by itself has one of its own."""
    if space not in (None, *SPACES):
        raise ComicSeqArgumentError(f"space {space!r} is not possible: give {' or '.join(SPACES)}")
    if space is None:
        space = "encoder" if any(given) and index.has_encoder_vectors else "model"
    if space == "model" or index.about["store"]["stage"] == 3:  # whose vectors are the encoder's
        return "vector"
    if not index.has_encoder_vectors:
        raise ComicSeqDataError(
            f"{index.url} holds no vectors of the panel encoder: make it with --embeddings STAGE3, or leave out space"
        )
    if has_vector:
        raise ComicSeqArgumentError(
            "a vector of the model is not compared in the space of the panel encoder: leave out the vector, or give space"
            " 'model'"
        )
    alone = f"{given[0]}_vector" if len(given) == 1 else ""
    return alone if alone in index.about["embeddings"]["columns"] else "encoder_vector"


def _encoded(index: Index, asked: _Asked, panel: np.ndarray, is_text: bool) -> np.ndarray:
    """The query vector `(1, D)` of a panel vector `(P,)` of a text or of a picture: itself, or what the model makes of a page of this one panel."""
    if asked.column != "vector" or index.about["store"]["stage"] == 3:
        return panel[None]
    contextualised, strip = index.encoders.page(panel, is_text)
    return (contextualised if asked.among == "panel" else strip)[None]


def _page(index: Index, asked: _Asked, page: str | int) -> np.ndarray:
    """The vectors of a page: its strip, or all its panels; it is left out itself."""
    row = index.find_row(page)
    vectors, _ = index.vectors(asked.among, f"row = {row}", asked.column)
    if not len(vectors):
        raise ComicSeqDataError(
            f"{index.url}: row {row} has no {asked.among} with a usable vector; ask for another page or panel"
        )
    asked.left_out |= _copies(index, asked, row)
    return vectors


def _panel(index: Index, asked: _Asked, panel: PanelId, level: str) -> np.ndarray:
    """The vector of a panel `(1, D)`; it is left out itself, or with its page where pages are looked for."""
    name, slot = panel
    row = index.find_row(name)
    vectors, _ = index.vectors("panel", f"row = {row} and slot = {int(slot)}", asked.column)
    if not len(vectors):
        raise ComicSeqDataError(
            f"{index.url}: row {row} has no panel with a usable vector in slot {slot}; ask for another page or panel"
        )
    copies = _copies(index, asked, row)
    if level == "panel":
        asked.left_out_panels |= {(each, int(slot)) for each in copies}
    else:
        asked.left_out |= copies
    return vectors


def _copies(index: Index, asked: _Asked, row: int) -> set[int]:
    """Rows of the page itself: by its path in its book, and by the vectors of all its panels."""
    (own,) = index._select(index.strips, f"row = {row}", ["book_id", "page_key", "panels_hash"])
    asked.books.add(own["book_id"])
    same = f"panels_hash = {own['panels_hash']}"
    same += f" or (page_key = {quote(own['page_key'])} and book_id = {quote(own['book_id'])})"
    return {row} | {each["row"] for each in index._select(index.strips, same, ["row"])}


def _nearest(index: Index, table: Any, asked: _Asked, where: str | None, level: str, k: int) -> list[Hit]:
    """The k best that are not left out; of a page's panels the best, of a book's pages the best, where these are wanted."""
    by_page = level == "strip" and asked.among == "panel"
    total = index.about["counts"]["panels" if asked.among == "panel" else "pages"]
    depth = k + (len(asked.left_out) * (16 if asked.among == "panel" else 1)) + len(asked.left_out_panels)
    depth = depth if level != "book" and not by_page else 4 * depth
    names = [name for name in table.schema.names if name not in INNER]
    while True:
        depth = min(depth, total)
        hits: list[Hit] = []
        seen: set[Any] = set()
        count = 0
        for row, score in _ranked(index, table, asked, where, depth, names):
            count += 1
            if row["row"] in asked.left_out or (row["row"], row.get("slot")) in asked.left_out_panels:
                continue
            found = row["book_id"] if level == "book" else row["row"] if by_page else (row["row"], row.get("slot"))
            if found in seen:
                continue
            seen.add(found)
            own = {name: row.pop(name) for name in ("page_id", "book_id", "row")}
            slot = row.pop("slot", None)
            hits.append(Hit(rank=len(hits) + 1, slot=slot, score=score, fields=row, **own))
            if len(hits) == k:
                return hits
        if count < depth or depth >= total:
            return hits
        depth *= 4  # what is left out, or a page or a book several times, has taken the places of others


def _ranked(
    index: Index, table: Any, asked: _Asked, where: str | None, depth: int, names: list[str]
) -> Iterator[tuple[dict[str, Any], float]]:
    """Rows with their scores, best first; of several query vectors the best counts."""
    best: dict[tuple[int, int | None], tuple[dict[str, Any], float]] = {}
    for vector in asked.vectors if len(asked.vectors) else [None]:
        for row, score in _one(index, table, asked, vector, where, depth, names):
            key = row["row"], row.get("slot")
            if key not in best or score > best[key][1]:
                best[key] = row, score
    # The same on every machine where scores are equal.
    return iter(sorted(best.values(), key=lambda each: (-each[1], each[0]["row"], each[0].get("slot") or 0))[:depth])


def _one(
    index: Index,
    table: Any,
    asked: _Asked,
    vector: np.ndarray | None,
    where: str | None,
    depth: int,
    names: list[str],
) -> Iterator[tuple[dict[str, Any], float]]:
    from lancedb.query import MatchQuery
    from lancedb.rerankers import RRFReranker

    words = None if asked.words is None else MatchQuery(valid(asked.words), "words")  # type: ignore[call-arg]
    if vector is None:
        query, score = table.search(words, query_type="fts"), "_score"
    elif words is None:
        query, score = table.search(vector, vector_column_name=asked.column, query_type="vector"), "_distance"
    else:
        query = table.search(query_type="hybrid", vector_column_name=asked.column).vector(vector).text(words)
        query, score = query.rerank(RRFReranker()), "_relevance_score"
    if vector is not None:
        query = query.distance_type("cosine")
    query = query.limit(depth).select([*names, score] if score != "_relevance_score" else names)
    if where is not None:
        query = query.where(where, prefilter=True)
    try:
        with engine_faults(index.url):
            exact = index.about["exact_rows"]
            if vector is not None and len(table) > exact:
                # The clusters that are near the query may hold few of the rows that a filter leaves.
                is_narrow = where is not None and table.count_rows(where) <= exact
                query = query.bypass_vector_index() if is_narrow else query.nprobes(PROBES).refine_factor(REFINED)
            found = query.to_arrow()
    except ComicSeqDataError as error:
        cause = error.__cause__
        if where is not None and cause is not None and re.search("nvalid|filter expression", str(cause)):
            raise ComicSeqArgumentError(
                f"the filter {where[:200]} is refused ({said(cause)}); write it like \"book_id = 'one' and num_panels > 3\""
            ) from None
        raise
    scores = found[score].to_numpy()
    scores = 1 - scores if score == "_distance" else scores
    rows = found.drop_columns([name for name in found.column_names if name not in names]).to_pylist()
    yield from zip(rows, scores.astype(float).tolist(), strict=True)


def check_vector(vector: Any, width: int, url: str) -> np.ndarray:
    """The query vector as float32 `(D,)`.

    Raises:
        ComicSeqArgumentError: It is no vector of finite numbers, or is all zero.
        ComicSeqDataError: It has another width than the index's.
    """
    vector = np.asarray(vector)
    if vector.dtype.kind not in "fiu":
        raise ComicSeqArgumentError(f"the query vector has dtype {vector.dtype}: give floating-point numbers")
    if vector.shape not in ((width,), (1, width)):
        raise ComicSeqDataError(
            f"the query vector has shape {vector.shape} but the vectors of {url} are {width} wide: give one vector of that"
            " width, from the same model"
        )
    if not np.isfinite(vector).all():
        raise ComicSeqArgumentError("the query vector holds NaN or infinity: give finite numbers")
    if not vector.any():
        raise ComicSeqArgumentError("the query vector is all zero, which has no direction: give another")
    return unit(vector.reshape(-1), np.float64).astype(np.float32)
