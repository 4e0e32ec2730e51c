"""Reads the measures of an embedding space in plain words: healthy, collapsed, or a mark of the page and nothing more.

The thresholds stand far from what sound spaces show and from what broken ones do. Between them lies a grey zone; the
reading therefore always states the figures. "Sound" here are the synthetic corpus, MiniLM vectors of speech balloons and
EfficientNet vectors of art, before and after untrained encoders of several sizes: mean cosines between books of 0.0 to
0.87, effective ranks of panels from 11 up and of strips from 5 up, and at most 15 % of the variance of panels due to the
page alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..evaluation.probe import Place
from ..stores.findings import Finding
from .space import Space

__all__ = ["Diagnosis", "Neighbours", "compare_neighbours", "diagnose"]

Verdict = Literal["healthy", "collapsed", "page fingerprint", "no book structure", "undetermined"]

# Of unit vectors, 1 - this is the share of their squared length in which they differ at all: at 0.98 the 2 % that are left
# are of the size of the noise that dropout and half precision leave, while untrained encoders stay below 0.9.
COLLAPSED_COSINE = 0.98
# Above this, but below the collapse: neighbours are still ordered, yet all cosines are large and thresholds on them fail.
NARROW_COSINE = 0.9
# Vectors in so few directions hold a handful of groups. Sound strips have 5 and more even where 60 pages were looked at.
COLLAPSED_RANK = 3.0
# A page's own mark makes up more than half of what tells panels apart, with room to spare for a mark and noise of one size
# (0.5) and for an encoder that mixes the panels of a page.
MARK_SHARE = 0.6
# … and of what the panels of a page have in common, hardly anything is common to the book. In sound spaces the book's part
# is a quarter and more: pages of a book share characters, style and words.
MARK_BOOK_SHARE = 0.2
# Pages of a book that are so much alike cannot be told from each other; panels likewise within a page.
SAME_COSINE = 0.98
# More copies than this among the vectors make nearest neighbours a matter of chance for many pages.
MANY_DUPLICATES = 0.1
# Fewer pages, or books with two pages, than this bear no verdict: cosines and rank depend on single pages.
FEWEST_PAGES = 20
FEWEST_BOOKS = 3


@dataclass
class Neighbours:
    """How often the nearest page is of the same book.

    Attributes:
        same_book: Share of the pages, among those whose book has others.
        low: Lower end of the 95 % interval over books.
        high: Upper end.
        chance: The share among pages drawn at random.
        pages: Pages that were asked.
        books: Their books.
    """

    same_book: float
    low: float
    high: float
    chance: float
    pages: int
    books: int


@dataclass
class Diagnosis:
    """A verdict, and what it rests on.

    Attributes:
        verdict: One of "healthy", "collapsed", "page fingerprint", "no book structure" and "undetermined".
        reading: Sentences that say why and what else was found, the gravest first.
        is_damaged: Whether vectors were left out that no sound store has.
        tells_places: Whether a panel's place on the page can be read off its vector, which it should not.
    """

    verdict: Verdict
    reading: list[str]
    is_damaged: bool = False
    tells_places: bool = False

    @property
    def headline(self) -> str:
        """The verdict, after what is graver."""
        verdict = f"damaged, what is left is {self.verdict}" if self.is_damaged else self.verdict
        return f"{verdict}, but places can be read off" if self.tells_places else verdict

    def add_place(self, place: Place, stage: int) -> None:
        """Adds what was found about places in the vectors of a store of this stage."""
        self.tells_places = stage == 3 and place.verdict == "readable"
        # Stage 5 was told positions, and is to know them.
        self.reading.insert(
            0 if self.tells_places else len(self.reading), place.sentence(is_contextualised=stage == 5)
        )

    def findings(self) -> list[Finding]:
        """What of it is wrong with the space as a whole, as findings about no single page."""
        found = []
        if self.verdict in ("collapsed", "page fingerprint"):
            kind = "collapsed space" if self.verdict == "collapsed" else "page fingerprint"
            words = "All ", "The panels of a page all", "The panel vectors lie along", "The strip vectors lie along"
            found.append(Finding(kind, next(each for each in self.reading if each.startswith(words))))
        if self.tells_places:
            found.append(Finding("place in vectors", self.reading[0]))
        return found


def diagnose(panels: Space, strips: Space, neighbours: Neighbours | None) -> Diagnosis:
    """Judges a space by its measures.

    Args:
        panels: Measures of the panel vectors.
        strips: Measures of the strip vectors.
        neighbours: Whether near pages are of one book; None where no book has two pages.
    """
    verdict, reading = _judge(panels, strips, neighbours)
    damage = _damage(panels, strips)
    return Diagnosis(verdict, damage + reading + _remarks(panels, strips), bool(damage))


def compare_neighbours(name: str, first: Neighbours | None, second: Neighbours | None) -> str | None:
    """A sentence where the second of two spaces of the same pages finds their books more or less often than the first.

    Args:
        name: What to call the first.
        first: Its neighbours.
        second: Those of the space that the sentence is about.
    """
    if first is None or second is None or first.pages != second.pages or first.chance != second.chance:
        return None
    if second.low > first.high:
        more, ending = "more", "."
    elif second.high < first.low:
        more, ending = "less", ": it lost what told books apart."
    else:
        return None
    shares = f"{100 * second.same_book:.1f} % against {100 * first.same_book:.1f} %"
    return f"Its nearest pages are of the same book {more} often than in {name} ({shares}){ending}"


def _judge(panels: Space, strips: Space, neighbours: Neighbours | None) -> tuple[Verdict, list[str]]:
    if strips.usable < FEWEST_PAGES or strips.between_books is None:
        return "undetermined", [
            f"There are {strips.usable} usable strip vectors, of {'one book' if strips.between_books is None else 'several books'}:"
            f" a verdict needs at least {FEWEST_PAGES} pages of different books."
        ]
    collapse = _collapse("panel", panels) + _collapse("strip", strips)
    if collapse:
        if neighbours is not None and neighbours.low > neighbours.chance:
            collapse.append(
                f"What little differs still finds the same book for {_percent(neighbours.same_book)} of the pages, by chance"
                f" for {_percent(neighbours.chance)}: it may be noise that pages share or a remainder worth having, which"
                " subtracting the mean vector before comparing would bring out."
            )
        return "collapsed", collapse
    fingerprint = _fingerprint(panels, neighbours)
    if fingerprint:
        return "page fingerprint", fingerprint
    if neighbours is None or neighbours.books < FEWEST_BOOKS:
        return "undetermined", [
            f"Fewer than {FEWEST_BOOKS} books have two pages: whether near pages belong together cannot be told."
        ]
    if not neighbours.low > neighbours.chance:
        return "no book structure", [
            f"{_same_book(neighbours)}: over {neighbours.books} books that is no difference, so nearness says nothing"
            " about what belongs together."
        ]
    reading = [
        f"{_same_book(neighbours)}: what is near tends to belong together.",
        f"The vectors spread over {panels.effective_rank:.0f} (panels) and {strips.effective_rank:.0f} (strips) directions"
        f" of {panels.width}, and those of different books have a mean cosine of {panels.between_books:z.2f} and"
        f" {strips.between_books:z.2f}: the space has not collapsed.",
    ]
    if panels.shares and panels.within_pages is not None:
        book, page, rest = panels.shares
        reading.append(
            f"Of what tells panels apart, {_percent(book)} is due to the book, {_percent(page)} to the page within it and"
            f" {_percent(rest)} to the panel itself: pages leave no mark that drowns the panels."
        )
    else:
        reading.append("No page has two panels: whether panels only carry their page's mark cannot be told.")
    return "healthy", reading


def _collapse(what: str, space: Space) -> list[str]:
    if space.between_books is not None and space.between_books >= COLLAPSED_COSINE:
        return [
            f"All {what} vectors are nearly the same: even those of different books have a mean cosine of"
            f" {space.between_books:.3f} ({COLLAPSED_COSINE} or more is a collapse)."
        ]
    if space.effective_rank < COLLAPSED_RANK:
        return [
            f"The {what} vectors lie along {space.effective_rank:.1f} directions of {space.width}, fewer than"
            f" {COLLAPSED_RANK:.0f}: they can hold a few groups and no more."
        ]
    return []


def _fingerprint(panels: Space, neighbours: Neighbours | None) -> list[str]:
    if panels.shares is None or panels.within_pages is None or panels.within_books is None:
        return []
    book, page, rest = panels.shares
    common = max(book, 0) + page
    if page < MARK_SHARE or max(book, 0) > MARK_BOOK_SHARE * common:
        return []
    reading = [
        f"The panels of a page all carry the same mark of that page: two of them have a mean cosine of"
        f" {panels.within_pages:z.2f}, two from different pages of a book {panels.within_books:z.2f} and two from different"
        f" books {panels.between_books:z.2f}.",
        f"Of what tells panels apart, {_percent(page)} says which page they are from, {_percent(book)} which book, and"
        f" only {_percent(rest)} which panel ({_percent(MARK_SHARE)} for the page, hardly shared by the book, is a"
        " fingerprint).",
    ]
    if neighbours is not None:
        tells = neighbours.low > neighbours.chance
        ending = "." if tells else ": the mark is arbitrary, it says nothing about the book."
        reading.append(_same_book(neighbours) + ending)
    return reading


def _damage(panels: Space, strips: Space) -> list[str]:
    damage = []
    for what, space in (("panel", panels), ("strip", strips)):
        if space.not_finite:
            damage.append(f"{space.not_finite:,} {what} vectors hold NaN or infinity and were left out.")
        if space.zero:
            damage.append(f"{space.zero:,} {what} vectors are all zero and were left out: they have no direction.")
    return damage


def _remarks(panels: Space, strips: Space) -> list[str]:
    remarks = []
    for what, space in (("panel", panels), ("strip", strips)):
        if space.between_books is not None and NARROW_COSINE <= space.between_books < COLLAPSED_COSINE:
            remarks.append(
                f"The {what} vectors lie in a narrow cone (mean cosine between books {space.between_books:z.2f}): compare"
                " cosines with each other, not with a threshold, or subtract the mean vector first."
            )
        if space.constant_dimensions and space.usable > 1:
            remarks.append(
                f"{space.constant_dimensions} of {space.width} dimensions of the {what} vectors have one value throughout:"
                " they are dead."
            )
        if space.usable and space.duplicates > MANY_DUPLICATES * space.usable:
            remarks.append(
                f"{_percent(space.duplicates / space.usable)} of the {what} vectors are exact copies of another one."
            )
    if (
        strips.within_books is not None
        and strips.between_books is not None
        and strips.within_books >= SAME_COSINE > strips.between_books
    ):
        remarks.append(
            f"The pages of a book have nearly the same strip vector (mean cosine {strips.within_books:.3f}): books are told"
            " apart, pages are not."
        )
    return remarks


def _same_book(neighbours: Neighbours) -> str:
    share, chance = f"{100 * neighbours.same_book:.1f} %", f"{100 * neighbours.chance:.1f} %"
    return f"The nearest page is of the same book for {share} of the pages, by chance for {chance}"


def _percent(share: float) -> str:
    return f"{100 * max(share, 0):.0f} %"
