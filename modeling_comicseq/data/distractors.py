"""Wrong candidates. Each protocol returns panel numbers `(B, num_distractors)`, -1 where there are not enough.

No protocol but `in_page` returns a panel of the question's page that its context holds, and none returns a panel twice, one
that equals the right one, or one of a page that is the question's page once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..errors import ComicSeqArgumentError
from .draws import Draws
from .panels import PanelPool, PanelSubset, PanelTable

PROTOCOLS = ("same_book", "cross_book", "in_page", "later_panels")
Unfit = Callable[[np.ndarray], np.ndarray]
REACH = 32  # pages before and after in which `same_book_without_characters` looks
ATTEMPTS = 8  # of `cross_book` to draw something else in the place of a panel that cannot be wrong


def check_protocols(protocols: Sequence[str]) -> None:
    """Raises a `ComicSeqArgumentError` if one of `protocols` does not exist."""
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ComicSeqArgumentError(f"`protocol` is {protocol!r} but must be one of {', '.join(PROTOCOLS)}.")


def draw_distractors(
    table: PanelTable,
    protocol: str | Sequence[str],
    rows: np.ndarray,
    answer_slots: np.ndarray,
    num_distractors: int,
    draws: Draws,
    without_characters: bool = False,
    among: PanelSubset | None = None,
    distinct_in: Sequence[str] = ("panel_embeddings",),
) -> np.ndarray:
    """Draws distractors for questions about `answer_slots` (B,) of `rows` (B,) under one of `PROTOCOLS`.

    Given several protocols, every question draws one of them. With `without_characters`, distractors from the same book show none
    of the page's characters; those of other books never do. With `among`, all are panels of that subset. The vectors in the
    columns `distinct_in` all differ from those of the answer.
    """
    if not len(rows):
        return np.zeros((0, num_distractors), dtype=np.int64)
    if not isinstance(protocol, str):
        distractors = np.empty((len(rows), num_distractors), dtype=np.int64)
        choice = (draws.uniform("protocol") * len(protocol)).astype(np.int64)
        for number, each in enumerate(protocol):
            some = np.flatnonzero(choice == number)
            distractors[some] = draw_distractors(
                table,
                each,
                rows[some],
                answer_slots[some],
                num_distractors,
                draws[some],
                without_characters,
                among,
                distinct_in,
            )
        return distractors
    check_protocols([protocol])
    pool = table.pool if among is None else among.pool
    unfit = partial(cannot_be_wrong, table, distinct_in, table.panel(rows, answer_slots))
    if protocol == "same_book" and without_characters:
        return same_book_without_characters(table, rows, num_distractors, draws, unfit)
    if protocol == "same_book":
        return same_book(table, pool, rows, num_distractors, draws, unfit)
    if protocol == "cross_book":
        return cross_book(table, pool, rows, num_distractors, draws, unfit)
    return same_page(table, among, rows, answer_slots, protocol == "later_panels", num_distractors, draws, unfit)


def cannot_be_wrong(
    table: PanelTable, distinct_in: Sequence[str], answers: np.ndarray, panels: np.ndarray
) -> np.ndarray:
    """Which of `panels` (B, n), -1 for none, are as right as the `answers` (B,).

    Their vector equals the answer's in one of the columns `distinct_in`, or they stand on another page that is the answer's
    page once more.
    """
    answers, found, page = answers[:, None], np.maximum(panels, 0), table.page_of
    unfit = (table.twins[page[found]] == table.twins[page[answers]]) & (page[found] != page[answers])
    for column in distinct_in:
        hashes = table.hashes(column)
        unfit |= hashes[found] == hashes[answers]
    return unfit & (panels >= 0)


def same_book(
    table: PanelTable, pool: PanelPool, rows: np.ndarray, num_distractors: int, draws: Draws, unfit: Unfit
) -> np.ndarray:
    """One panel from each of the nearest other pages of the book; a second from each where pages are too few, and so on."""
    page, book = table.pages[rows][:, None], table.books[rows][:, None]
    # The pages before and after come in pairs of equal distance; which of the two is nearer is a coin toss.
    steps = np.arange(1, num_distractors + 1)
    steps = np.where(draws.uniform("same_book.side", num_distractors) < 0.5, steps, -steps)
    neighbours = page + np.stack((steps, -steps), axis=-1).reshape(len(rows), -1)
    exists = (neighbours >= table.book_pages[book]) & (neighbours < table.book_pages[book + 1])
    neighbours = np.where(exists, neighbours, page)
    start = pool.page_starts[neighbours]
    size = (pool.page_starts[neighbours + 1] - start) * exists
    shift = (draws.uniform("same_book.panel", neighbours.shape[1]) * size).astype(np.int64)
    rounds = np.arange(num_distractors)[:, None]
    start, size, shift = (each[:, None] for each in (start, size, shift))
    choice = start + (shift + rounds) % np.maximum(size, 1)
    shape = len(rows), -1
    return _first_panels(
        _panels_at(pool, choice.reshape(shape), (rounds < size).reshape(shape)), num_distractors, unfit
    )


def same_book_without_characters(
    table: PanelTable, rows: np.ndarray, num_distractors: int, draws: Draws, unfit: Unfit
) -> np.ndarray:
    """As `same_book`, but of the panels that show none of the page's characters, which may stand many pages away."""
    assert table.characters is not None
    page, book = table.pages[rows][:, None], table.books[rows][:, None]
    page_starts, row = table.pool.page_starts, np.arange(len(rows))[:, None]
    start = page_starts[np.maximum(page - REACH, table.book_pages[book])]
    end = page_starts[np.minimum(page + REACH + 1, table.book_pages[book + 1])]
    places = start + np.arange((end - start).max())
    other = np.searchsorted(page_starts, places, side="right") - 1
    fits = (places < end) & (other != page)
    fits[fits] = table.characters.show_none_of(table.pool.panels[places[fits]], np.where(fits, page, -1)[fits])
    other[~fits] = len(page_starts)  # behind all pages

    luck = draws.uniform("strangers.panel", places.shape[1])
    order = np.lexsort((luck, other))
    places, other, fits = places[row, order], other[row, order], fits[row, order]
    groups = (row * (len(page_starts) + 1) + other).ravel()
    which_round = (np.arange(len(groups)) - np.searchsorted(groups, groups)).reshape(other.shape)
    distance = np.abs(other - page)
    side = draws.uniform("same_book.side", REACH)[row, np.minimum(distance, REACH) - 1]
    order = np.lexsort(((side < 0.5) == (other < page), distance, which_round, ~fits))
    return _first_panels(_panels_at(table.pool, places[row, order], fits[row, order]), num_distractors, unfit)


def cross_book(
    table: PanelTable, pool: PanelPool, rows: np.ndarray, num_distractors: int, draws: Draws, unfit: Unfit
) -> np.ndarray:
    """Panels of other books: one from each of `num_distractors` equal parts of all of them, so that none comes twice."""
    book = table.books[rows][:, None]
    start = pool.page_starts[table.book_pages[book]]
    in_book = pool.page_starts[table.book_pages[book + 1]] - start
    bounds = np.arange(num_distractors + 1) * (len(pool.panels) - in_book) // num_distractors
    size = bounds[:, 1:] - bounds[:, :-1]  # 0 in places where there are fewer other panels than parts
    panels, again = np.full(size.shape, -1), size > 0
    for attempt in range(ATTEMPTS):
        purpose = f"cross_book.panel.{attempt}" if attempt else "cross_book.panel"
        choice = bounds[:, :-1] + (draws.uniform(purpose, num_distractors) * size).astype(np.int64)
        choice += in_book * (choice >= start)
        panels = np.where(again, _panels_at(pool, choice, again), panels)
        again = unfit(panels)
        if not again.any():
            break
    return _first_panels(panels, num_distractors, unfit)


def same_page(
    table: PanelTable,
    among: PanelSubset | None,
    rows: np.ndarray,
    answer_slots: np.ndarray,
    later: bool,
    num_distractors: int,
    draws: Draws,
    unfit: Unfit,
) -> np.ndarray:
    """Panels of the question's own page but the answer; with `later`, of those after the answer."""
    slots = np.arange(max(table.num_panels[rows].max(), num_distractors))[None]
    is_there = slots > answer_slots[:, None] if later else slots != answer_slots[:, None]
    is_there &= slots < table.num_panels[rows][:, None]
    panels = np.where(is_there, table.panel(rows[:, None], slots), -1)
    is_there &= ~unfit(panels)
    if among is not None:
        panels = np.maximum(panels, 0)
        is_there &= among.count(panels, panels + 1) > 0
    order = np.argsort(np.where(is_there, draws.uniform("same_page.panel", slots.shape[1]), 2.0), axis=1)
    order = order[:, :num_distractors]
    return np.where(np.take_along_axis(is_there, order, 1), table.panel(rows[:, None], order), -1)


def _panels_at(pool: PanelPool, places: np.ndarray, is_there: np.ndarray) -> np.ndarray:
    """The panels of the pool at `places` (B, n), -1 where none is there."""
    panels = np.full(places.shape, -1)
    panels[is_there] = pool.panels[places[is_there]]
    return panels


def _first_panels(panels: np.ndarray, count: int, unfit: Unfit) -> np.ndarray:
    """The first `count` of each row of `panels` (B, n) that can be wrong `(B, count)`, then -1."""
    can_be = (panels >= 0) & ~unfit(panels)
    rank = np.cumsum(can_be, axis=1)
    first = np.full((len(panels), count), -1)
    # Both masks select row by row as many entries, in order.
    first[np.arange(count) < rank[:, -1:]] = panels[can_be & (rank <= count)]
    return first
