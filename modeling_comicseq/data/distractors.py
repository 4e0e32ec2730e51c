"""Wrong candidates. Each protocol returns panel numbers `(B, num_distractors)`, -1 where there are not enough.

No protocol but `in_page` returns a panel of the question's page that its context holds, and none returns a panel twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ComicSeqArgumentError
from .draws import Draws
from .panels import PanelPool, PanelSubset, PanelTable

PROTOCOLS = ("same_book", "cross_book", "in_page", "later_panels")
REACH = 32  # pages before and after in which `same_book_without_characters` looks


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
) -> np.ndarray:
    """Draws distractors for questions about `answer_slots` (B,) of `rows` (B,) under one of `PROTOCOLS`.

    Given several protocols, every question draws one of them. With `without_characters`, distractors from the same book show none
    of the page's characters; those of other books never do. With `among`, all are panels of that subset.
    """
    if not len(rows):
        return np.zeros((0, num_distractors), dtype=np.int64)
    if not isinstance(protocol, str):
        distractors = np.empty((len(rows), num_distractors), dtype=np.int64)
        choice = (draws.uniform("protocol") * len(protocol)).astype(np.int64)
        for number, each in enumerate(protocol):
            some = np.flatnonzero(choice == number)
            distractors[some] = draw_distractors(
                table, each, rows[some], answer_slots[some], num_distractors, draws[some], without_characters, among
            )
        return distractors
    pool = table.pool if among is None else among.pool
    if protocol == "same_book" and without_characters:
        return same_book_without_characters(table, rows, num_distractors, draws)
    if protocol == "same_book":
        return same_book(table, pool, rows, num_distractors, draws)
    if protocol == "cross_book":
        return cross_book(table, pool, rows, num_distractors, draws)
    if protocol == "in_page":
        return same_page(table, among, rows, lambda slots: slots != answer_slots[:, None], num_distractors, draws)
    if protocol == "later_panels":
        return same_page(table, among, rows, lambda slots: slots > answer_slots[:, None], num_distractors, draws)
    raise ValueError(f"`protocol` is {protocol!r} but must be one of {', '.join(PROTOCOLS)}.")


def same_book(table: PanelTable, pool: PanelPool, rows: np.ndarray, num_distractors: int, draws: Draws) -> np.ndarray:
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
    places = pack(start + shift, size > 0, num_distractors)

    short = np.flatnonzero(places[:, -1:] < 0)
    if len(short):
        rounds = np.arange(num_distractors)[:, None]
        start, size, shift = (each[short][:, None] for each in (start, size, shift))
        choice = start + (shift + rounds) % np.maximum(size, 1)
        is_there = rounds < size
        places[short] = pack(choice.reshape(len(short), -1), is_there.reshape(len(short), -1), num_distractors)
    return _panels(pool, places)


def same_book_without_characters(
    table: PanelTable, rows: np.ndarray, num_distractors: int, draws: Draws
) -> np.ndarray:
    """As `same_book`, but of the panels that show none of the page's characters, which may stand many pages away."""
    assert table.characters is not None
    page, book = table.pages[rows], table.books[rows]
    start = table.pool.page_starts[np.maximum(page - REACH, table.book_pages[book])]
    size = table.pool.page_starts[np.minimum(page + REACH + 1, table.book_pages[book + 1])] - start
    question = np.repeat(np.arange(len(rows)), size)
    place = np.arange(len(question)) - np.repeat(np.cumsum(size) - size, size)
    other = np.searchsorted(table.pool.page_starts, start[question] + place, side="right") - 1
    panel = table.pool.panels[start[question] + place]
    luck = draws.uniform("strangers.panel", size.max(initial=1))[question, place]
    fit = (other != page[question]) & table.characters.show_none_of(panel, page[question])
    question, other, panel, luck = question[fit], other[fit], panel[fit], luck[fit]

    order = np.lexsort((luck, other, question))
    question, other, panel = question[order], other[order], panel[order]
    which_round = _place_in_group(question * len(table.pool.page_starts) + other)
    distance = np.abs(other - page[question])
    is_second = (draws.uniform("same_book.side", REACH)[question, distance - 1] < 0.5) == (other < page[question])
    order = np.lexsort((is_second, distance, which_round, question))
    question, panel = question[order], panel[order]
    place = _place_in_group(question)
    first = place < num_distractors
    distractors = np.full((len(rows), num_distractors), -1)
    distractors[question[first], place[first]] = panel[first]
    return distractors


def _place_in_group(groups: np.ndarray) -> np.ndarray:
    """0, 1, 2, … within each run of equal numbers."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def cross_book(table: PanelTable, pool: PanelPool, rows: np.ndarray, num_distractors: int, draws: Draws) -> np.ndarray:
    """Panels of other books: one from each of `num_distractors` equal parts of all of them, so that none comes twice."""
    book = table.books[rows][:, None]
    start = pool.page_starts[table.book_pages[book]]
    in_book = pool.page_starts[table.book_pages[book + 1]] - start
    bounds = np.arange(num_distractors + 1) * (len(pool.panels) - in_book) // num_distractors
    size = bounds[:, 1:] - bounds[:, :-1]  # 0 in places where there are fewer other panels than parts
    choice = bounds[:, :-1] + (draws.uniform("cross_book.panel", num_distractors) * size).astype(np.int64)
    choice += in_book * (choice >= start)
    return _panels(pool, pack(choice, size > 0, num_distractors))


def same_page(
    table: PanelTable, among: PanelSubset | None, rows: np.ndarray, eligible, num_distractors: int, draws: Draws
) -> np.ndarray:
    """Panels of the question's own page, at the slots (1, N) of which `eligible` is true."""
    slots = np.arange(max(table.num_panels[rows].max(), num_distractors))[None]
    is_there = (slots < table.num_panels[rows][:, None]) & eligible(slots)
    if among is not None:
        panels = np.where(is_there, table.panel(rows[:, None], slots), 0)
        is_there &= among.count(panels, panels + 1) > 0
    order = np.argsort(np.where(is_there, draws.uniform("same_page.panel", slots.shape[1]), 2.0), axis=1)
    order = order[:, :num_distractors]
    return np.where(np.take_along_axis(is_there, order, 1), table.panel(rows[:, None], order), -1)


def _panels(pool: PanelPool, places: np.ndarray) -> np.ndarray:
    """Numbers of the panels at `places` of the pool, -1 where the place is -1."""
    return np.where(places < 0, -1, pool.panels[places])


def pack(values: np.ndarray, is_there: np.ndarray, count: int) -> np.ndarray:
    """The first `count` values of each row that are there `(B, count)`, then -1."""
    if is_there[:, :count].all():
        return values[:, :count]
    rank = np.cumsum(is_there, axis=1)
    packed = np.full((len(values), count), -1, dtype=values.dtype)
    # Both masks select row by row as many entries, in order.
    packed[np.arange(count) < rank[:, -1:]] = values[is_there & (rank <= count)]
    return packed
