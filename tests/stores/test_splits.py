"""Splits by book."""

import json

import pytest

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.stores.splits import SPLITS, SplitRule, check_fractions, hash_place, load_split_books, split_of


def test_split_is_frozen():
    """A book keeps its side for ever: other values here would move books between training and test."""
    books = ["comics-2946", "peppercarrot-ep07", "Book 000", "漫画", ""]
    assert [split_of(book) for book in books] == ["train", "test", "train", "train", "validation"]


def test_ids_without_blanks_and_accents_stand_where_they_always_stood():
    """Values of before names had a normal form."""
    places = {
        "Tintin": 0.6651710436285059,
        "book_17": 0.9287084782855033,
        "comics-204": 0.7809669503307313,
        "Pepper and Carrot": 0.9025512150969246,
        "BONE": 0.40658734385129247,
        "bone": 0.7845887778093227,
        "Vol 1/2": 0.6693306058471888,
        "O'Neil (1985) #3": 0.5678774976479888,
    }
    assert {book: hash_place(book) for book in places} == places


def test_spellings_of_one_book_stand_on_one_side():
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    # That of the composed spelling, of before: decomposed, the book was at 0.766308285712541.
    assert {hash_place(book) for book in (composed, decomposed, f" {decomposed}\t")} == {0.4503058074212425}
    rule = SplitRule((0.8, 0.1, 0.1), load_split_books({"test": [decomposed]}))
    assert [rule(book) for book in (composed, decomposed, f"{composed} ", "caf\u00e9")] == ["test"] * 3 + ["train"]
    with pytest.raises(ComicSeqDataError, match="stands in train and in test"):
        load_split_books({"train": [composed], "test": [f"{decomposed} "]})


def test_shares_follow_the_fractions():
    found = [split_of(f"book {i}", (0.6, 0.3, 0.1)) for i in range(5000)]
    shares = [found.count(split) / 5000 for split in SPLITS]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.02)


@pytest.mark.parametrize("side", range(3))
def test_all_books_on_one_side(side):
    fractions = [0.0, 0.0, 0.0]
    fractions[side] = 1.0
    assert {split_of(f"book {i}", fractions) for i in range(200)} == {SPLITS[side]}


def test_rounding_opens_no_side():
    fractions = (0.1 + 0.2, 0.7, 0.0)  # sums to a hair above 1, and 0.7 + 0.3 orders may fall below
    assert "test" not in {split_of(f"book {i}", fractions) for i in range(2000)}


@pytest.mark.parametrize("fractions", [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_wrong_fractions(fractions):
    with pytest.raises(ComicSeqDataError, match="sum to 1"):
        check_fractions(fractions)


def test_lists_of_books(tmp_path):
    path = tmp_path / "books.json"
    path.write_text(json.dumps({"validation": ["b"], "test": ["c", "c"]}))
    rule = SplitRule((0.8, 0.1, 0.1), load_split_books(path))
    assert [rule(book) for book in "abc"] == ["train", "validation", "test"]
    rule = SplitRule((0.8, 0.1, 0.1), load_split_books({"train": ["a"], "test": ["c"]}))
    assert [rule(book) for book in "abc"] == ["train", None, "test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "must map"),
        ('{"dev": ["a"]}', "must map"),
        ('{"test": "abc"}', "not a list of book ids"),
        ('{"train": ["a"], "test": ["a"]}', "stands in train and in test"),
    ],
)
def test_wrong_lists_of_books(tmp_path, text, message):
    path = tmp_path / "books.json"
    path.write_text(text)
    with pytest.raises(ComicSeqDataError, match=message) as error:
        load_split_books(path)
    assert str(path) in str(error.value)
