"""What is wrong with the pages of a store, as `comicseq inspect` lists it and `comicseq convert --leave-out` takes it."""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ComicSeqDataError, counted, in_words
from ..files import write_text

__all__ = ["KINDS", "Finding", "LeaveOut", "PageRef", "StoreFindings", "describe", "read_leave_out", "write_findings"]

# Each kind, and what its pages are, in the order of the report.
KINDS = {
    "listed twice": "pages that the metadata list twice",
    "merged book": "pages of another book with the same name",
    "no panel": "pages without a panel",
    "wrong mask": "pages whose panels the mask and the metadata count differently",
    "unusable vectors": "pages with vectors that are NaN, infinite or zero",
    "blank page": "pages without a panel that were stored as one blank panel",
    "copy": "pages with the vectors of an earlier page",
    "near copy": "pages with nearly the vectors of an earlier page",
    "unnamed rows": "rows with panels that the metadata do not name",
    "collapsed space": "vectors that are nearly the same, or lie along a few directions",
    "page fingerprint": "panels that carry little but the mark of their page",
    "place in vectors": "panel vectors that tell their place on the page",
}
_FORMAT = "comicseq findings"
_REMEDY = "give the findings.json that `comicseq inspect` wrote, of which findings and pages may be taken out"
_short = reprlib.repr


class PageRef(NamedTuple):
    """A page of a store.

    Attributes:
        row: Its row, `sequence_index`.
        page: Its `canonical_id`.
        entry: The number of its entry in the metadata, where the row has several; else None.
    """

    row: int
    page: str
    entry: int | None = None

    def to_json(self) -> dict[str, Any]:
        """An object without what is not told."""
        return {key: value for key, value in self._asdict().items() if value is not None}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: One of KINDS.
        says: What was found, in words.
        pages: The pages that are at fault, which `convert --leave-out` leaves out; none where it is not about pages.
        of: The page that they are copies of, which stays; None for other kinds.
        details: Figures and names, by kind: `cosine`, `book_id`, `source`, `rows`, `where`.
    """

    kind: str
    says: str
    pages: Sequence[PageRef] = ()
    of: PageRef | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """An object of one shape for all kinds."""
        of = None if self.of is None else self.of.to_json()
        return {
            "kind": self.kind,
            "says": self.says,
            "pages": [page.to_json() for page in self.pages],
            "of": of,
        } | self.details


@dataclass(frozen=True)
class StoreFindings:
    """All that was found in one store.

    Attributes:
        store: Its path or URL.
        metadata: Path or URL of its metadata.
        fingerprint: Of its files, so that the list is not taken for another store's.
        findings: The findings.
    """

    store: str
    metadata: str
    fingerprint: str
    findings: Sequence[Finding]


def write_findings(path: Path, stores: Sequence[StoreFindings]) -> None:
    """Writes the findings of some stores as JSON, one finding a line, so that lines can be taken out by hand."""

    def lines(of: StoreFindings) -> str:
        found = ",\n".join(json.dumps(each.to_json(), ensure_ascii=False) for each in of.findings)
        head = {"store": of.store, "metadata": of.metadata, "fingerprint": of.fingerprint}
        return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "findings": [\n{found}\n]}}'

    text = ",\n".join(map(lines, stores))
    write_text(path, f'{{"format": "{_FORMAT}", "version": 1, "stores": [\n{text}\n]}}\n')


class LeaveOut:
    """Pages that are not to be converted.

    Args:
        path: The file that names them, for messages.
        pages: The pages, and the kind of what is wrong with each.
    """

    def __init__(self, path: str, pages: Iterable[tuple[PageRef, str]] = ()):
        self.path = path
        # By row, or by row and entry. A page with several faults is left out for the first.
        self.places: dict[tuple[int, int | None], tuple[PageRef, str]] = {}
        for page, kind in pages:
            self.places.setdefault((page.row, page.entry), (page, kind))
        self.left_out: list[dict[str, Any]] = []
        self.met: set[tuple[int, int | None]] = set()

    @property
    def digest(self) -> str:
        """Tells one list from another, whatever else is in its file."""
        listed = sorted((row, -1 if entry is None else entry) for row, entry in self.places)
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]

    def takes(self, row: int, entry: int, name: str) -> bool:
        """Whether the page of this row and entry is listed; it is then noted as left out.

        Raises:
            ComicSeqDataError: The list has another page there: it was made for other metadata.
        """
        keys = [key for key in ((row, None), (row, entry)) if key in self.places]
        for key in keys:
            page, kind = self.places[key]
            if page.page != name:
                raise ComicSeqDataError(
                    f"{self.path}: row {row} is page {_short(page.page)} but the metadata have {_short(name)}: the metadata"
                    " were changed since; run `comicseq inspect` again"
                )
            self.met.add(key)
            if key == keys[0]:
                self.left_out.append({"page": name, "sequence_index": row, "kind": kind})
        return bool(keys)

    def check_all_met(self, metadata: str) -> None:
        """Checks that the metadata hold all that is listed.

        Raises:
            ComicSeqDataError: They do not.
        """
        missing = self.places.keys() - self.met
        if missing:
            page, _ = self.places[min(missing, key=lambda key: (key[0], key[1] or 0))]
            raise ComicSeqDataError(
                f"{self.path}: page {_short(page.page)} (sequence_index {page.row}) does not stand in {metadata} as it did:"
                " the metadata were changed since; run `comicseq inspect` again"
            )

    def summary(self) -> dict[str, Any]:
        """What was left out: the file, the number of pages, and how many for what."""
        kinds = Counter(each["kind"] for each in self.left_out)
        ordered = {kind: kinds[kind] for kind in KINDS if kinds[kind]}
        return {"file": self.path, "pages": len(self.left_out), "kinds": ordered}


def read_leave_out(path: str | os.PathLike, store: str, fingerprint: str) -> LeaveOut:
    """Reads the pages that a file of findings lists for a store.

    Args:
        path: The file, as `comicseq inspect` wrote it, or what is left of it.
        store: Path or URL of the store, for messages.
        fingerprint: The store's fingerprint.

    Raises:
        ComicSeqDataError: The file is no such list, or lists pages of other stores alone.
    """
    name = os.fspath(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ComicSeqDataError(f"{name} cannot be read as JSON ({in_words(error)}); {_REMEDY}") from error
    if (
        not isinstance(content, dict)
        or content.get("format") != _FORMAT
        or not isinstance(content.get("stores"), list)
    ):
        raise ComicSeqDataError(f"{name} is no list of findings; {_REMEDY}")
    if content.get("version") != 1:
        raise ComicSeqDataError(f"{name} has version {_short(content.get('version'))}; run `comicseq inspect` again")
    of_stores = [each for each in content["stores"] if isinstance(each, dict)]
    mine = [each for each in of_stores if each.get("fingerprint") == fingerprint]
    if not mine:
        others = [str(each.get("store")) for each in of_stores]
        where = f"{', '.join(map(_short, others[:3]))}" if others else "no store"
        raise ComicSeqDataError(
            f"{name} lists what was found in {where}, which is not {store} as it is now; run `comicseq inspect` on this store"
            " again"
        )
    pages: list[tuple[PageRef, str]] = []
    for each in mine:
        findings = each.get("findings")
        if not isinstance(findings, list):
            raise ComicSeqDataError(f"{name}: findings is {_short(findings)} and no list; {_REMEDY}")
        for number, finding in enumerate(findings):
            pages += _read_pages(name, number, finding)
    return LeaveOut(name, pages)


def _read_pages(path: str, number: int, finding: Any) -> list[tuple[PageRef, str]]:
    place = f"{path}: finding {number}"
    if not isinstance(finding, dict) or finding.get("kind") not in KINDS:
        found = _short(finding.get("kind")) if isinstance(finding, dict) else _short(finding)
        raise ComicSeqDataError(f"{place} is {found} and none of {', '.join(KINDS)}; {_REMEDY}")
    pages = finding.get("pages", [])
    if not isinstance(pages, list):
        raise ComicSeqDataError(f"{place}: pages is {_short(pages)} and no list; {_REMEDY}")
    read = []
    for page in pages:
        row, name, entry = (page.get(key) if isinstance(page, dict) else None for key in ("row", "page", "entry"))
        if type(row) is not int or not isinstance(name, str) or type(entry) not in (int, type(None)):
            raise ComicSeqDataError(f"{place}: page {_short(page)} has no row or no name; {_REMEDY}")
        read.append((PageRef(row, name, entry), finding["kind"]))
    return read


def describe(summary: dict[str, Any]) -> str:
    """What was left out, in one sentence."""
    kinds = ", ".join(f"{kind}: {number:,}" for kind, number in summary["kinds"].items())
    return f"{counted(summary['pages'], 'page')} left out by {summary['file']}{f' ({kinds})' if kinds else ''}"
