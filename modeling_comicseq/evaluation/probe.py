"""Whether a panel's place on the page can be read off its vector alone.

Where it can, order and every task that knows positions are answered without reading the page. A ridge regression from the
vector to the place is fitted on some books and puts the panels of others in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.panels import PanelTable
from ..vectors import unit
from .metrics import bootstrap_mean
from .results import interval
from .ridge import BookRidge

if TYPE_CHECKING:
    from ..data.views import Batch

# What panels show and say put 56 to 58 % of the pairs of three real comics in order, and 69 % of those of a strip whose
# episodes all have one form. A number that is a fifth of the vector's length gives 82 % even on 91 pages, and one of a tenth
# 95 % on 4,000: see docs/measurements/honesty.md.
READABLE, SUSPICIOUS = 0.75, 0.6
FEWEST_PAGES, FEWEST_BOOKS = 20, 3
MOST_PAGES = 4000  # a sample tells as much
WIDEST = 512  # wider vectors are projected at random: a regression takes time that grows with the cube of the width
CONTENT = "what panels show and say gave 56 to 69 % on real comics"


@dataclass(frozen=True)
class Place:
    """How well the place of a panel can be read off its vector.

    Attributes:
        pairs: Share of the pairs of a page that the regression puts in order, mean over pages; a half by chance.
        low: Lower end of its 95 % interval over books.
        high: Upper end.
        pages: Pages that were looked at, of two panels and more.
        books: Their books.
    """

    pairs: float
    low: float
    high: float
    pages: int
    books: int

    @property
    def verdict(self) -> str:
        """One of "readable", "partly readable", "hardly readable" and "not readable"."""
        if self.low >= READABLE:
            return "readable"
        if self.low >= SUSPICIOUS:
            return "partly readable"
        return "hardly readable" if self.low > 0.5 else "not readable"

    def sentence(self, is_contextualised: bool = False) -> str:
        """The verdict in plain words; of vectors that an encoder made which is told positions, others."""
        found = (
            f"a ridge regression puts {interval(self.pairs, self.low, self.high)} % of the pairs of a page in order"
        )
        found = f"{found}, in books that it was not fitted on (chance 50 %"
        if is_contextualised:
            return f"Of a panel's place, its vector tells what the encoder was told of positions: {found})."
        can, why = {
            "readable": (
                "can be read off its vector",
                "): order and every task that knows positions can be answered without reading the page. Leave the panel's"
                " number, and what follows it, out of the vectors",
            ),
            "partly readable": (
                "can partly be read off its vector",
                f"; {CONTENT}): look whether something of the panel's number went into the vectors",
            ),
            "hardly readable": ("can hardly be read off its vector", f"; {CONTENT})"),
            "not readable": ("cannot be read off its vector", ")"),
        }[self.verdict]
        return f"A panel's place on the page {can}: {found}{why}."

    def to_json(self) -> dict[str, Any]:
        """The figures, the verdict and the sentence."""
        return asdict(self) | {"verdict": self.verdict, "sentence": self.sentence()}


class PlaceProbe:
    """Ridge regressions from a panel's vector to its place on the page, each fitted on other books than it answers for.

    Args:
        vectors: Panels `(n, D)`, page by page in reading order.
        counts: Panels of each page `(pages,)`.
        books: Book of each page `(pages,)`, two at least.
    """

    def __init__(self, vectors: np.ndarray, counts: np.ndarray, books: np.ndarray):
        page = np.repeat(np.arange(len(counts)), counts)
        slots = np.arange(len(page)) - np.repeat(np.cumsum(counts) - counts, counts)
        place = (slots / np.maximum(counts - 1, 1)[page])[:, None]
        self.projection, width = None, vectors.shape[1]
        if width > WIDEST:
            generator = np.random.default_rng(0)
            self.projection = generator.standard_normal((width, WIDEST), dtype=np.float32) / np.float32(WIDEST**0.5)
        # Less the means of the page: what tells pages apart is no matter of order.
        inputs, targets = (each - _page_means(each, counts)[page] for each in (self._directions(vectors), place))
        self.ridge = BookRidge(inputs, targets, books[page], groups=len(counts))

    def places(self, vectors: np.ndarray, books: np.ndarray) -> np.ndarray:
        """How far behind each panel stands `(n,)`, to compare with others of its page, for `vectors` (n, D) of `books` (n,)."""
        return self.ridge.predict(self._directions(vectors), books)[:, 0]

    def _directions(self, vectors: np.ndarray) -> np.ndarray:
        return unit(vectors) if self.projection is None else unit(vectors) @ self.projection

    def orders(self, batch: Batch) -> list[np.ndarray]:
        """The reading order `(N,)` of each page of shuffled panels, of the books `book_ids`."""
        real = batch["attention_mask"].astype(bool)
        places = np.full(real.shape, np.inf)
        places[real] = self.places(batch["panel_embeddings"][real], np.repeat(batch["book_ids"], real.sum(1)))
        return [each.argsort(kind="stable")[:count] for each, count in zip(places, real.sum(1), strict=True)]


def can_probe(counts: np.ndarray, books: np.ndarray) -> bool:
    """Whether pages of so many panels (pages,) and these books (pages,) bear a verdict."""
    return (counts > 1).sum() >= FEWEST_PAGES and len(np.unique(books)) >= FEWEST_BOOKS


def probe_places(vectors: np.ndarray, counts: np.ndarray, books: np.ndarray) -> Place | None:
    """How well places can be read off panels, as `PlaceProbe` takes them; None of too few pages or books.

    Of pages that are not all finite, and of those of one panel, nothing is read.
    """
    finite = np.logical_and.reduceat(np.isfinite(vectors).all(axis=1), np.cumsum(counts) - counts)
    usable = finite & (counts > 1)
    vectors, counts, books = vectors[np.repeat(usable, counts)], counts[usable], np.asarray(books)[usable]
    if not can_probe(counts, books):
        return None
    places = PlaceProbe(vectors, counts, books).places(vectors, np.repeat(books, counts))
    shares = [_pairs(each) for each in np.split(places, np.cumsum(counts)[:-1])]
    return Place(*bootstrap_mean(np.asarray(shares), books), len(counts), len(np.unique(books)))


def probe_tables(tables: Sequence[PanelTable]) -> Place | None:
    """How well places can be read off the panels of some splits of a data set; None of too few pages or books."""
    return probe_places(*sample_pages(tables))


def places_for_card(table: PanelTable) -> dict[str, Any] | None:
    """What the card of a data set says of that, from a sample of its pages."""
    place = probe_tables([table])
    return None if place is None else place.to_json()


def sample_pages(tables: Sequence[PanelTable]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Panel vectors, counts and books of rows from all over some splits, as `PlaceProbe` takes them."""
    parts = []
    for table in tables:
        rows = np.flatnonzero(table.num_panels > 1)
        most = max(1, MOST_PAGES * len(table) // sum(map(len, tables)))
        rows = rows[spread(len(rows), most)]
        counts = table.num_panels[rows]
        slots = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        vectors = table.gather("panel_embeddings", table.panel(np.repeat(rows, counts), slots))
        parts.append((vectors, counts, table.book_ids[table.books[rows]]))
    vectors, counts, books = (np.concatenate(each) for each in zip(*parts, strict=True))
    return vectors, counts, books


def spread(count: int, most: int) -> np.ndarray:
    """Up to `most` of the first `count` numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _page_means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return (np.add.reduceat(values, np.cumsum(counts) - counts) / counts[:, None]).astype(values.dtype)


def _pairs(places: np.ndarray) -> float:
    """Share of the pairs of a page whose `places` (N,) are in order; equal ones count half."""
    first, second = np.triu_indices(len(places), k=1)
    return float((np.sign(places[second] - places[first]) / 2 + 0.5).mean())
