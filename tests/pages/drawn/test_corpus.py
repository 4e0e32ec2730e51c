"""The corpus that is measured on is frozen: what changes stories, layouts or words makes another one, with figures of its own."""

from __future__ import annotations

import json

import pytest

from modeling_comicseq.pages.drawn import words
from modeling_comicseq.pages.drawn.corpus import BOOKS, FINGERPRINTS, fingerprint, part_of, plan_corpus
from modeling_comicseq.pages.drawn.writing import write_books

FEW = 8


@pytest.fixture(scope="module")
def planned():
    return list(plan_corpus(range(FEW)))


def test_the_corpus_is_what_was_measured(planned):
    """Whoever makes this fail has made another corpus: `VERSION` goes up, and its difficulty is measured before any training."""
    assert fingerprint(planned) == FINGERPRINTS[FEW]


def test_what_is_drawn_is_what_was_planned(planned, tmp_path):
    write_books(tmp_path / "books", 1, width=500, progress=False)
    drawn = json.loads((tmp_path / "books" / "panels.json").read_text())
    assert drawn == planned[: len(drawn)]
    assert fingerprint(drawn) in (tmp_path / "books" / "README.md").read_text()


def test_stories_layouts_and_words_are_in_the_fingerprint(planned, monkeypatch):
    before = fingerprint(planned)
    for change in (
        {"direction": "other"},
        {"panels": planned[0]["panels"][:-1]},
        {"panels": [planned[0]["panels"][0] | {"box": [0, 0, 1, 1]}, *planned[0]["panels"][1:]]},
        {"panels": [planned[0]["panels"][0] | {"caption": "Nothing."}, *planned[0]["panels"][1:]]},
    ):
        assert fingerprint([planned[0] | change, *planned[1:]]) != before
    said = {action: tuple((f"a: {action}.",) for _ in lines) for action, lines in words.LINES.items()}
    monkeypatch.setattr(words, "LINES", said)
    first = list(plan_corpus([0]))
    assert fingerprint(first) != fingerprint(planned[: len(first)])


def test_every_book_is_in_one_part():
    parts = [part_of(book) for book in range(BOOKS)]
    assert [parts.count(part) for part in ("test", "validation", "train")] == [60, 20, 120]
