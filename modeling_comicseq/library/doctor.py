"""Finds what is wrong with single pages of a store: blank panels, copies, pages listed twice, merged books and damage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import PageProblem, counted
from ..pages.annotations import read_boxes
from ..pages.json_list import iter_entries
from ..stores.findings import KINDS, Finding, PageRef
from ..stores.metadata import parse_entry
from ..stores.names import normal_form, normal_path
from ..stores.pages import Faults, Pages
from ..stores.placement import source_of
from ..stores.splits import split_of
from ..stores.vectors import VectorStore
from .near_copies import NEAR, compare_pages, least_cosines, nearest_before
from .scan import Scan

__all__ = ["Doubles", "examine", "find_doubles", "find_unnamed_rows", "summarise"]

# Blank panels differ by what half precision and the size of a batch leave.
_SAME = 0.999
_FEWEST_BLANK = 3
_FEWEST_APART = 3  # pages of one name with different vectors, in a book that is two
_TWICE = "stands twice"  # as `read_pages` has it
_MOST_NAMED = 3


class Doubles(Faults):
    """Passes over the rows that the metadata list twice, and stops at what else is wrong with them."""

    def __init__(self) -> None:
        super().__init__(skip=True)

    def add(self, source: str, page: str | None, row: int | None, entry: int | None, found: str, remedy: str) -> None:
        """Lists a row that stands twice.

        Raises:
            ComicSeqDataError: Something else was found.
        """
        if not found.endswith(_TWICE):
            Faults().add(source, page, row, entry, found, remedy)
        super().add(source, page, row, entry, found, remedy)

    @property
    def rows(self) -> list[int]:
        """The rows."""
        return sorted({each["sequence_index"] for each in self.skipped})


@dataclass
class _Patients:
    """The pages that have panels, by place.

    Attributes:
        rows: Row of each.
        paths: Its `canonical_id`.
        books: Its book.
        counts: Its panels.
        taken: Which are left out already, for another reason.
    """

    rows: np.ndarray
    paths: list[str]
    books: list[str]
    counts: np.ndarray
    taken: np.ndarray

    def refer(self, place: int) -> PageRef:
        return PageRef(int(self.rows[place]), self.paths[place])

    def take(self, kind: str, says: str, places: Sequence[int], of: int | None = None, **details: Any) -> Finding:
        """A finding about these pages, which are not looked at for anything else."""
        self.taken[list(places)] = True
        return Finding(
            kind, says, [self.refer(place) for place in places], None if of is None else self.refer(of), details
        )


def examine(
    store: VectorStore, metadata: str, named: Pages, has_panels: np.ndarray, scan: Scan, marks: np.ndarray
) -> list[Finding]:
    """What is wrong with single pages, kind by kind; each page is listed once, for what is found first.

    Args:
        store: The store.
        metadata: Path or URL of its metadata.
        named: The pages that the metadata name, without rows that they list twice.
        has_panels: Which of them have panels `(named,)`.
        scan: What was read of those that have.
        marks: Panels that the mask marks of each named page, negative where it has a hole `(named,)`.
    """
    findings = list(_find_wrong_masks(store, named, marks))
    wrong = {page.row for finding in findings for page in finding.pages}
    where = np.flatnonzero(has_panels)
    paths, books = (named.table[name].take(where).to_pylist() for name in ("canonical_id", "book_id"))
    rows = named.rows[where]
    pages = _Patients(rows, paths, books, np.abs(marks[where]), np.isin(rows, list(wrong)))
    findings += _find_unusable(pages, scan)
    first = _first_of(scan.hashes)
    is_compared = scan.is_usable & ~pages.taken
    near = nearest_before(scan.sketches, pages.counts, is_compared & (first == np.arange(len(first))))
    later = np.flatnonzero(near >= 0)
    pairs = np.stack((near[later], later), axis=1)
    cosines, plain = compare_pages(store, rows, pairs, scan.means)
    findings += _find_blank(pages, metadata, first, pairs[plain >= _SAME])
    numbers = np.bincount(pages.counts[is_compared], minlength=store.slots + 1)
    least = np.full(store.slots + 1, np.inf)
    least[1:] = least_cosines(numbers[1:], np.arange(1, store.slots + 1), scan.panels.effective_rank)
    is_near = cosines >= least[pages.counts[later]]
    findings += _find_same_names(pages, store, scan)
    findings += _find_sources(pages)
    findings += _find_copies(pages, first, scan.is_usable)
    findings += _find_near_copies(pages, pairs[is_near], cosines[is_near])
    kinds = list(KINDS)
    return sorted(findings, key=lambda finding: kinds.index(finding.kind))


def find_doubles(metadata: str, rows: Sequence[int]) -> Iterator[Finding]:
    """Rows that the metadata list twice: of equal entries all but the first are at fault, of different ones all."""
    entries: dict[int, list[tuple[PageRef, dict[str, Any]]]] = defaultdict(list)
    for number, row, name, entry in _entries_of(metadata, rows):
        entries[row].append((PageRef(row, name, number), entry))
    for row, listed in entries.items():
        is_same = all(entry == listed[0][1] for _, entry in listed)
        says = f"row {row} is listed {len(listed)} times in the metadata, " + (
            "each time alike" if is_same else "for different pages: which is right the metadata do not tell"
        )
        yield Finding("listed twice", says, [page for page, _ in listed[is_same:]], listed[0][0] if is_same else None)


def find_unnamed_rows(is_filled: np.ndarray, named: np.ndarray) -> Iterator[Finding]:
    """Rows with panels `is_filled` (rows,) that are not among the `named` ones."""
    unnamed = is_filled.copy()
    unnamed[named] = False
    rows = np.flatnonzero(unnamed)
    if len(rows):
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        says = f"{counted(len(rows), 'row')} with panels that the metadata do not name: they are not converted"
        yield Finding("unnamed rows", says, details={"rows": [[int(run[0]), int(run[-1])] for run in runs]})


def summarise(findings: Sequence[Finding]) -> Iterator[str]:
    """A sentence for each kind of finding about pages."""
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.pages:
            by_kind[finding.kind].append(finding)
    for kind, found in by_kind.items():
        pages = [page for finding in found for page in finding.pages]
        sentence = f"{counted(len(pages), 'page')} ({kind}): {KINDS[kind]}"
        if where := Counter(finding.details["where"] for finding in found if "where" in finding.details):
            sentence += ", " + " and ".join(f"{number:,} in {place}" for place, number in where.items())
        if apart := sum(finding.details.get("in_another_split", False) for finding in found):
            sentence += f", {apart:,} of them in another split by the usual shares"
        of = found[0].of
        example = repr(pages[0].page) if of is None else f"{pages[0].page!r}, which is {of.page!r}"
        yield f"{sentence}, as {example}."


def _first_of(keys: np.ndarray) -> np.ndarray:
    """For each of `keys` (n,) the place where it first stands `(n,)`."""
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    return first[place]


def _entries_of(metadata: str, rows: Sequence[int]) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """Number, row, `canonical_id` and content of the metadata's entries for these rows."""
    wanted = set(rows)
    for number, entry in enumerate(iter_entries(metadata) if wanted else ()):
        if entry.get("sequence_index") in wanted:
            page = parse_entry(entry)
            yield number, page.row, page.canonical_id, entry


def _find_wrong_masks(store: VectorStore, named: Pages, marks: np.ndarray) -> Iterator[Finding]:
    for kind, odd in (("no panel", (marks == 0) & (named.counts == 0)), ("wrong mask", marks != named.counts)):
        for place in np.flatnonzero(odd).tolist():
            page = PageRef(int(named.rows[place]), named.table["canonical_id"][place].as_py())
            says = "the page has no panel"
            if kind == "wrong mask":
                says = f"num_panels is {named.counts[place]} but the mask marks {abs(marks[place])}"
                says = "the mask has a hole" if marks[place] < 0 else says
            yield Finding(kind, says, [page])


def _find_unusable(pages: _Patients, scan: Scan) -> Iterator[Finding]:
    for place in np.flatnonzero(~scan.is_usable & ~pages.taken).tolist():
        yield pages.take("unusable vectors", "a vector of the page is NaN, infinite or zero", [place])


def _find_blank(pages: _Patients, metadata: str, first: np.ndarray, pairs: np.ndarray) -> Iterator[Finding]:
    """The pages of one panel that all have one vector, of which nothing tells a text or a box.

    A pipeline that has no panel of a page and stores a blank one, stores the same each time: the largest group of such
    pages is it, where it has some pages, of which two are of one book. A page that was printed again stands in other books.
    """
    alone = np.flatnonzero((pages.counts == 1) & ~pages.taken)
    links = np.concatenate(
        (np.stack((first, np.arange(len(first))), axis=1)[alone], pairs[np.isin(pairs, alone).all(1)])
    )
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(len(first),) * 2)
    group = connected_components(graph, directed=False)[1]
    sizes = np.bincount(group[alone], minlength=1)
    if sizes.max() < _FEWEST_BLANK:
        return
    places = alone[group[alone] == sizes.argmax()].tolist()
    told = {row for _, row, _, entry in _entries_of(metadata, pages.rows[places].tolist()) if _tells_of_a_panel(entry)}
    books = {pages.books[place] for place in places}
    if not told and len(books) < len(places):
        says = f"its one panel has the vector of {len(places) - 1:,} other pages of one panel, and nothing tells of a text"
        for place in places:
            yield pages.take("blank page", says, [place])


def _tells_of_a_panel(entry: dict[str, Any]) -> bool:
    """Whether the metadata's entry of a page of one panel has a text of it, or a box that is not the whole page."""
    texts = entry.get("texts")
    if "".join(str(text) for text in (texts if isinstance(texts, list) else [texts or ""])).strip("[]' \n"):
        return True
    try:
        boxes = read_boxes(entry).boxes
    except PageProblem:
        return False
    return bool(boxes.any() and not np.allclose(boxes, (0, 0, 1, 1), atol=0.01))


def _find_same_names(pages: _Patients, store: VectorStore, scan: Scan) -> Iterator[Finding]:
    """Pages of one name in a book: one page on two rows, or two books of one name."""
    known: dict[tuple[str, str], int] = {}
    twice: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place in np.flatnonzero(~pages.taken).tolist():
        key = normal_form(pages.books[place]), normal_path(pages.paths[place])
        if key in known:
            twice[pages.books[place]].append((known[key], place))
        else:
            known[key] = place
    for book, found in twice.items():
        pairs = np.asarray(found)
        is_same = scan.hashes[pairs[:, 0]] == scan.hashes[pairs[:, 1]]
        compared = np.flatnonzero(~is_same & (pages.counts[pairs[:, 0]] == pages.counts[pairs[:, 1]]))
        is_same[compared] = compare_pages(store, pages.rows, pairs[compared], scan.means)[0] >= NEAR
        apart = len(pairs) - int(is_same.sum())
        if apart >= _FEWEST_APART and 2 * apart >= len(pairs):
            runs = _runs_of_names(pages, book)
            for number, run in enumerate(runs[1:], start=2):
                says = (
                    f"book {book!r} has {len(runs)} runs of pages with the same names but other vectors, as books of one"
                    f" name that were merged: this is run {number}; give the books different book_id fields"
                )
                yield pages.take("merged book", says, run, book_id=book, run=number)
            continue
        for (original, place), same in zip(found, is_same.tolist(), strict=True):
            ending = "the same vectors" if same else "other vectors"
            yield pages.take("listed twice", f"the page stands on two rows, with {ending}", [place], original)


def _runs_of_names(pages: _Patients, book: str) -> list[list[int]]:
    """The pages of a book in runs: one that has a name for the n-th time is in run n, any other in that of the row before."""
    seen: Counter[str] = Counter()
    mine = [place for place in np.flatnonzero(~pages.taken).tolist() if pages.books[place] == book]
    names = [normal_path(pages.paths[place]) for place in mine]
    several, run = Counter(names), 0
    runs: list[list[int]] = []
    for place, name in zip(mine, names, strict=True):
        run = seen[name] if several[name] > 1 else run
        seen[name] += 1
        runs += [[] for _ in range(run + 1 - len(runs))]
        runs[run].append(place)
    return runs


def _find_sources(pages: _Patients) -> Iterator[Finding]:
    """Books whose pages come from several folders of one name: all but those of the largest are at fault."""
    by_book: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place in np.flatnonzero(~pages.taken).tolist():
        folder = pages.paths[place].replace("\\", "/").rpartition("/")[0]
        by_book[pages.books[place]][folder].append(place)
    for book, folders in by_book.items():
        if len(folders) == 1:
            continue
        sources: dict[str, list[int]] = defaultdict(list)
        for folder, places in folders.items():
            sources[source_of(book, f"{folder}/page")] += places
        largest = max(sources, key=lambda source: len(sources[source]))
        names = ", ".join(map(repr, sorted(sources)[:_MOST_NAMED]))
        for source in sources:
            if source != largest:
                says = (
                    f"book {book!r} comes from {len(sources)} sources ({names}), of which {source!r} is not the largest:"
                    " give the books different book_id fields"
                )
                yield pages.take("merged book", says, sorted(sources[source]), book_id=book, source=source)


def _find_copies(pages: _Patients, first: np.ndarray, is_usable: np.ndarray) -> Iterator[Finding]:
    original: dict[int, int] = {}
    for place in np.flatnonzero(~pages.taken & is_usable).tolist():
        of = original.setdefault(int(first[place]), place)
        if of != place:
            yield _copy(pages, "copy", "the same vectors in all panels as", place, of)


def _find_near_copies(pages: _Patients, pairs: np.ndarray, cosines: np.ndarray) -> Iterator[Finding]:
    original: dict[int, int] = {}  # of a page that is a near copy itself
    for (of, place), cosine in zip(pairs.tolist(), cosines.tolist(), strict=True):
        of = original.get(of, of)
        if not pages.taken[place] and not pages.taken[of]:
            original[place] = of
            says = f"nearly the same vectors in all panels (a cosine of {cosine:.3f} and more, less the mean) as"
            yield _copy(pages, "near copy", says, place, of, cosine=round(cosine, 4))


def _copy(pages: _Patients, kind: str, says: str, place: int, of: int, **details: Any) -> Finding:
    books = pages.books[of], pages.books[place]
    where = "their own book" if normal_form(books[0]) == normal_form(books[1]) else "another book"
    is_apart = split_of(books[0]) != split_of(books[1])
    says = f"{says} {pages.paths[of]!r} of {'the same' if where == 'their own book' else 'another'} book"
    says += ", which falls into another split" if is_apart else ""
    return pages.take(kind, says, [place], of, where=where, in_another_split=is_apart, **details)
