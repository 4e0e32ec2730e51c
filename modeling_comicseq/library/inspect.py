"""Inspects stores: measures their embedding spaces, judges them, lists what is wrong, and reports them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..evaluation.metrics import FEW_BOOKS, bootstrap_mean, few_books
from ..evaluation.probe import Place, probe_places
from ..evaluation.report import interval
from ..evaluation.retrieval import same_book_retrieval
from ..files import write_json
from ..outputs import check_report
from ..stores.findings import KINDS, Finding, StoreFindings, write_findings
from ..stores.pages import read_pages
from ..stores.stage3 import Stage3Store
from ..stores.twins import same_pages
from ..stores.vectors import VectorStore, find_metadata, folder_beside
from ..vectors import unit
from .diagnosis import Diagnosis, Neighbours, compare_neighbours, diagnose
from .doctor import Doubles, examine, find_doubles, find_unnamed_rows, summarise
from .embedding_map import MapData, draw_map, project
from .scan import Scan, scan_pages
from .space import Space

__all__ = ["Report", "inspect_store", "inspect_stores", "print_reports"]

FILES = ("inspect.json", "map.png", "findings.json")
# Of a sample, one book makes up at most this share: a corpus in one large book must not be judged by that book alone.
_BOOK_SHARE = 1 / 20


@dataclass
class Report:
    """What was found in one store.

    Attributes:
        store: Its path or URL.
        stage: 3 or 5.
        pages: Its pages that have panels and that the metadata names.
        books: Their books.
        sampled_pages: Pages that were measured; all are looked at for findings.
        sampled_books: Their books.
        seed: Seed of the sample; None where all pages were measured.
        panels: Measures of the panel vectors.
        strips: Measures of the strip vectors.
        neighbours: Whether near pages are of one book; None where no book has two pages.
        place: Whether a panel's place on the page can be read off its vector; None where too few pages have two panels.
        findings: What is wrong, with single pages and with the space.
        diagnosis: The verdict.
        metadata: Path or URL of its metadata.
    """

    store: str
    stage: int
    pages: int
    books: int
    sampled_pages: int
    sampled_books: int
    seed: int | None
    panels: Space
    strips: Space
    neighbours: Neighbours | None
    place: Place | None
    findings: list[Finding]
    diagnosis: Diagnosis
    metadata: str

    @property
    def counts(self) -> dict[str, int]:
        """How much was found of each kind: pages, or findings where it is not about pages."""
        counts = {kind: sum(max(1, len(f.pages)) for f in self.findings if f.kind == kind) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}


def inspect_stores(
    stores: Sequence[str],
    metadata: Sequence[str] = (),
    output: Path | None = None,
    *,
    pages: int = 10_000,
    seed: int = 0,
    progress: bool = False,
) -> tuple[list[Report], Path]:
    """Inspects stores and writes `inspect.json`, `findings.json` and `map.png`.

    Args:
        stores: Stage 5 or Stage 3 stores.
        metadata: None, to look beside each store; one for all; or one each.
        output: Folder to write to, by default `STORE.inspect` beside the first store.
        pages: Most pages to measure, see `inspect_store`.
        seed: Seed of the sample.
        progress: Show progress on stderr.

    Returns:
        The reports in the order of the stores, and the folder.

    Raises:
        ComicSeqDataError: A store or its metadata cannot be used.
    """
    if metadata and len(metadata) not in (1, len(stores)):
        raise ComicSeqArgumentError(
            f"there are {len(metadata)} metadata files for {len(stores)} stores: name one for all, or one for each"
        )
    opened = [VectorStore.open(store) for store in stores]
    output = output or folder_beside(opened[0], ".inspect", "--output")
    check_report(output, FILES, ('"stores": [', '"stage": '), [*stores, *metadata])
    named: Sequence[str | None] = metadata or [None]
    if len(named) < len(stores):
        named = [named[0]] * len(stores)
    found = [
        inspect_store(store, find_metadata(store, each), pages=pages, seed=seed, progress=progress)
        for store, each in zip(opened, named, strict=True)
    ]
    reports = [report for report, _ in found]
    titles = _names([report.store for report in reports])
    for report in reports[1:]:
        sentence = compare_neighbours(titles[0], reports[0].neighbours, report.neighbours)
        if sentence:
            report.diagnosis.reading.append(sentence)
    figures, picture, listed = (output / name for name in FILES)
    write_json(figures, {"stores": [_plain(report) for report in reports]})
    write_findings(
        listed,
        [
            StoreFindings(report.store, report.metadata, _fingerprint(store), report.findings)
            for store, report in zip(opened, reports, strict=True)
        ],
    )
    draw_map(
        [
            MapData(f"Stage {report.stage}: {title}\n{report.diagnosis.headline}", *drawn)
            for (report, drawn), title in zip(found, titles, strict=True)
        ],
        picture,
    )
    return reports, output


def inspect_store(
    store: VectorStore, metadata: str, *, pages: int = 10_000, seed: int = 0, progress: bool = False
) -> tuple[Report, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Measures and judges one store.

    Args:
        store: The store.
        metadata: Its metadata.
        pages: Most pages to measure; all are looked at for findings. Of a larger store, books are drawn at random and
            taken whole, up to 1/20 of this number of pages each: pages drawn one by one would seldom leave two of a book.
        seed: Seed of that draw.
        progress: Show progress on stderr.

    Returns:
        The report, and for the map the usable strips' points `(N, 2)`, the axes' shares of the variance `(2,)` and the
        books `(N,)`.
    """
    doubles = Doubles()
    named = read_pages(metadata, store.pages, faults=doubles)
    marks = np.concatenate([_count_panels(store, lo, hi) for lo, hi in store.blocks("panel")])
    has_panels = marks[named.rows] != 0
    every = named.rows[has_panels]
    if not len(every):
        raise ComicSeqDataError(
            f"{store.url} holds no page with panels that {metadata} names: there is nothing to see"
        )
    names, books = np.unique(np.asarray(named.strings("book_id"))[has_panels], return_inverse=True)
    chosen = _sample(books, pages, seed)
    rows, row_books = every[chosen], books[chosen]
    scan = scan_pages(store, every, books, chosen, progress)
    paths = named.table["canonical_id"].filter(pa.array(has_panels)).take(pa.array(chosen)).to_pylist()
    # A copy would be the nearest.
    is_first = same_pages(scan.hashes[chosen], row_books.tolist(), paths) == np.arange(len(rows))
    usable = np.isfinite(scan.vectors).all(axis=1) & scan.vectors.any(axis=1)
    units, unit_books = unit(scan.vectors[usable]), row_books[usable]
    neighbours = _neighbours(units[is_first[usable]], unit_books[is_first[usable]])
    diagnosis = diagnose(scan.panels, scan.strips, neighbours)
    found = examine(store, metadata, named, has_panels, scan, marks[named.rows])
    place = _probe(scan, every, books, found)
    if place is not None:
        diagnosis.add_place(place, store.stage)
    findings = [
        *find_doubles(metadata, doubles.rows),
        *found,
        *find_unnamed_rows(marks != 0, np.concatenate((named.rows, np.asarray(doubles.rows, int)))),
        *diagnosis.findings(),
    ]
    diagnosis.reading += summarise(findings)
    report = Report(
        store=store.url,
        stage=store.stage,
        pages=len(every),
        books=int(books.max()) + 1,
        sampled_pages=len(rows),
        sampled_books=len(np.unique(row_books)),
        seed=seed if len(rows) < len(every) else None,
        panels=scan.panels,
        strips=scan.strips,
        neighbours=neighbours,
        place=place,
        findings=findings,
        diagnosis=diagnosis,
        metadata=metadata,
    )
    return report, (*project(units), names[unit_books])


def _probe(scan: Scan, rows: np.ndarray, books: np.ndarray, findings: Sequence[Finding]) -> Place | None:
    """Whether places can be read off the panels of the sample, but for pages with a finding.

    A probe that was fitted on a page would know the order of its copy in another book.
    """
    flawed = [page.row for finding in findings for page in finding.pages]
    is_sound = ~np.isin(rows[scan.probed], flawed)
    panels = scan.probed_panels[np.repeat(is_sound, scan.probed_counts)]
    return probe_places(panels, scan.probed_counts[is_sound], books[scan.probed[is_sound]])


def _count_panels(store: VectorStore, lo: int, hi: int) -> np.ndarray:
    """Panels that the mask marks in rows lo to hi `(rows,)`, negative where it has a hole."""
    real = store.read_mask(lo, hi)
    return np.where((real[:, 1:] > real[:, :-1]).any(axis=1), -1, 1) * real.sum(axis=1)


def _sample(books: np.ndarray, pages: int, seed: int) -> np.ndarray:
    """Places in `books` (N,) of whole books drawn at random, at most `pages` of them, in order."""
    if len(books) <= pages:
        return np.arange(len(books))
    generator = np.random.default_rng(seed)
    by_book = np.split(np.argsort(books, kind="stable"), np.cumsum(np.bincount(books))[:-1])
    most = max(2, int(pages * _BOOK_SHARE))
    chosen: list[np.ndarray] = []
    count = 0
    for book in generator.permutation(len(by_book)):
        places = by_book[book]
        if len(places) > most:
            places = generator.choice(places, most, replace=False)
        if count + len(places) > pages:
            break
        chosen.append(places)
        count += len(places)
    return np.sort(np.concatenate(chosen))


def _neighbours(units: np.ndarray, books: np.ndarray) -> Neighbours | None:
    counts = np.bincount(books) if len(books) else np.zeros(0, int)
    if not (counts > 1).any() or (counts > 0).sum() < 2:
        return None
    hits, chance = same_book_retrieval(units, books)
    asked = ~np.isnan(hits)
    share, low, high = bootstrap_mean(hits[asked], books[asked])
    return Neighbours(share, low, high, chance, int(asked.sum()), int((counts > 1).sum()))


def _fingerprint(store: VectorStore) -> str:
    """Of the files of the store, as `convert` asks for it."""
    return store.fingerprint() if store.stage == 5 else Stage3Store.open(store.url).fingerprint()


def _plain(report: Report) -> dict[str, Any]:
    content = asdict(replace(report, findings=[])) | {"findings": report.counts}
    for level, space in (("panels", report.panels), ("strips", report.strips)):
        names = ("book", "page", "panel") if level == "panels" else ("book", "page")
        content[level]["variance_shares"] = space.shares and dict(zip(names, space.shares, strict=False))
    if report.neighbours:
        # An interval over one book does not exist, and JSON has no NaN.
        content["neighbours"] = {key: None if each != each else each for key, each in content["neighbours"].items()}
    return content


def print_reports(reports: list[Report], console: Console) -> None:
    """Prints the reading of each store, then the figures of all side by side."""
    table = Table()
    table.add_column("")
    for report, name in zip(reports, _names([report.store for report in reports]), strict=True):
        table.add_column(f"Stage {report.stage}\n{escape(name)}", justify="right", overflow="fold")
    for sections in zip(*map(_figures, reports), strict=True):
        for name in sections[0]:
            table.add_row(name, *(section[name] for section in sections))
        table.add_section()
    for report in reports:
        console.print(f"[bold]{escape(report.store)}: {report.diagnosis.headline}[/]")
        for sentence in report.diagnosis.reading:
            console.print(f"  {sentence}", highlight=False)
    console.print(table)
    fewest = min((report.neighbours.books for report in reports if report.neighbours), default=FEW_BOOKS)
    console.print(f"Brackets: 95 % interval by bootstrap over books. {few_books(fewest) or ''}".strip())


def _figures(report: Report) -> list[dict[str, str]]:
    """What a store's column of the table says, section by section."""
    sampled = f"{report.sampled_pages:,} / {report.sampled_books:,} (seed {report.seed})"
    looked_at = "all" if report.seed is None else sampled
    sections = [{"pages / books": f"{report.pages:,} / {report.books:,}", "measured": looked_at}]
    for level, space in (("panels", report.panels), ("strips", report.strips)):
        section = {f"[bold]{level}[/]": f"{space.vectors:,} of width {space.width}"}
        section["effective rank"] = f"{space.effective_rank:.1f}"
        for where in ("within pages", "within books", "between books"):
            cosine = getattr(space, where.replace(" ", "_"))
            if level == "panels" or where != "within pages":
                section[f"mean cosine {where}"] = "–" if cosine is None else f"{cosine:z.3f}"
        if level == "panels":
            shares = " / ".join(f"{100 * max(part, 0):.0f}" for part in space.shares or ())
            section["told apart by book / page / panel, %"] = shares or "–"
            place = report.place
            section["place read off, pairs in order, %"] = (
                interval(place.pairs, place.low, place.high) if place else "–"
            )
        else:
            near = report.neighbours
            section["nearest page is of the same book, %"] = (
                interval(near.same_book, near.low, near.high) if near else "–"
            )
            section["  by chance, %"] = f"{100 * near.chance:.1f}" if near else "–"
        section["dead dimensions"] = f"{space.constant_dimensions:,}"
        section["all zero / not finite"] = f"{space.zero:,} / {space.not_finite:,}"
        section["copies of another"] = f"{space.duplicates:,}"
        sections.append(section)
    found = "\n".join(f"{kind}: {count:,}" for kind, count in report.counts.items())
    sections.append({"[bold]found[/]": found or "nothing"})
    verdict = report.diagnosis.verdict
    colour = {"healthy": "green", "undetermined": "yellow"}.get(verdict, "red")
    return [*sections, {"[bold]verdict[/]": f"[bold {colour}]{verdict}[/]"}]


def _names(urls: list[str]) -> list[str]:
    """The last part of each path, or the last two where several end alike."""
    names = [url.rstrip("/").split("/") for url in urls]
    parts = 1 if len({name[-1] for name in names}) == len(names) else 2
    return ["/".join(name[-parts:]) for name in names]
