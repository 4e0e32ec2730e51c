"""Metadata files that are no good list of pages: one sentence with file, entry, value and remedy."""

import gzip
import json
import re
from pathlib import Path

import pytest

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.pages.json_list import iter_entries
from modeling_comicseq.stores.metadata import describe_file
from modeling_comicseq.stores.pages import Faults, read_pages

PAGES = [f'{{"sequence_index": {n}, "num_panels": 1, "canonical_id": "a/{n}"}}' for n in range(3)]


def pages_of(tmp_path, change, skip=False, text="rest"):
    """Reads three pages of which the second was changed."""
    path = tmp_path / "metadata.json"
    path.write_text(f"[{PAGES[0]}, {change(PAGES[1])}, {PAGES[2]}]")
    faults = Faults(skip=skip)
    return read_pages(str(path), 3, text=text, faults=faults), faults.skipped


def refused(tmp_path, change, *words, **options):
    with pytest.raises(ComicSeqDataError) as error:
        pages_of(tmp_path, change, **options)
    message = str(error.value)
    assert message.startswith(str(tmp_path / "metadata.json")) and "\n" not in message and len(message) < 500
    for word in words:
        assert re.search(word, message), message


@pytest.mark.parametrize("field", ["num_panels", "sequence_index"])
@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("1e400", "inf"),
        ("-1e400", "-inf"),
        ("NaN", "nan"),
        ("1" + 400 * "0", r"10+\.\.\.0+"),
        ("1e300", r"1e\+300"),
        ("4294967296", "4294967296"),
        ("2147483648.0", "2147483648.0"),
        ("-1", "-1"),
        ("0.5", "0.5"),
        ("[" + 900 * "1," + "1]", r"\[1, 1, 1, 1, 1, 1, \.\.\.\]"),
    ],
)
def test_numbers_beyond_any_row(tmp_path, field, number, shown):
    def change(page):
        return re.sub(f'"{field}": 1', f'"{field}": {number}', page)

    remedy = "give a whole number from 0 on, below 2147483648"
    refused(tmp_path, change, f"page 'a/1'.*: {field} is {shown}; {remedy}")
    pages, skipped = pages_of(tmp_path, change, skip=True)
    assert pages.rows.tolist() == [0, 2]
    assert [page["page"] for page in skipped] == ["a/1"] and re.search(shown, skipped[0]["reason"])


def test_number_of_thousands_of_digits(tmp_path):
    refused(
        tmp_path, lambda page: page.replace(": 1,", ": 1" + 5000 * "0" + ","), "entry 1: it holds a number of thous"
    )


@pytest.mark.parametrize("text", ["rest", "entry"])
@pytest.mark.parametrize("depth", [300, 900])
def test_page_nested_too_deep(tmp_path, depth, text):
    def change(page):
        return page.replace("{", '{"x": ' + depth * "[" + depth * "]" + ", ")

    refused(tmp_path, change, "page 'a/1'.*: the entry is nested too deep; leave out", text=text)
    pages, skipped = pages_of(tmp_path, change, skip=True, text=text)
    assert pages.rows.tolist() == [0, 2] and "nested too deep" in skipped[0]["reason"]
    assert len(pages_of(tmp_path, change, text=None)[0]) == 3  # where nobody writes it again


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_file_nested_too_deep_to_be_read(tmp_path, opening):
    for depth in (3_000, 100_000):
        refused(
            tmp_path, lambda page, n=depth: page.replace("{", '{"x": ' + n * opening), "entry 1: it is nested too deep"
        )


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("more", ['"num_panels": 2', '"x": {"ü": 1, "y": 2, "ü": 1}'])
def test_key_that_stands_twice(tmp_path, more, skip):
    def change(page):
        return page.replace("}", f", {more}}}")

    refused(tmp_path, change, "entry 1: the key '(num_panels|ü)' stands twice in an object; write", skip=skip)


def test_large_numbers_elsewhere_are_carried_along(tmp_path):
    change = lambda page: page.replace("}", f', "x": [1{400 * "0"}, -1e400], "book_id": 1{30 * "0"}}}')  # noqa: E731
    pages, _ = pages_of(tmp_path, change)
    assert pages.strings("book_id") == ["a", "1" + 30 * "0", "a"]
    assert json.loads(pages.strings("text")[1])["x"][0] == 10**400


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda content: content[: len(content) // 2], "Compressed file ended"),
        (lambda content: content[:40] + bytes(6) + content[46:], "cannot be read|is not JSON"),
        (lambda content: b"hello", "Not a gzipped file"),
    ],
)
def test_damaged_compressed_file(tmp_path, damage, found):
    path = tmp_path / "metadata.json.gz"
    path.write_bytes(damage(gzip.compress(f"[{', '.join(PAGES)}]".encode())))
    with pytest.raises(ComicSeqDataError, match=found) as error:
        list(iter_entries(str(path)))
    assert str(path) in str(error.value)


def test_other_encodings_and_layouts(tmp_path):
    path, text = tmp_path / "metadata.json", f"[{', '.join(PAGES)}]"
    path.write_text(text, encoding="utf-8-sig")
    assert len(list(iter_entries(str(path)))) == 3
    for content, found in (
        (text.encode("utf-16"), "is not JSON in UTF-8"),
        ("\n".join(PAGES).encode(), "no.* JSON list"),
    ):
        path.write_bytes(content)
        with pytest.raises(ComicSeqDataError, match=found):
            list(iter_entries(str(path)))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/x.json", r"not installed: Install s3fs to access S3\); install that with pip"),
        ("gs://bucket/x.json", "gcsfs"),
        ("sftp://host/x.json", "paramiko"),
        ("foo://x.json", "Protocol not known: foo.*name a local path"),
        ("http://127.0.0.1:9/x.json", "cannot be read"),
        ("zip://x.json::/nowhere.zip", "No such file"),
        ("memory://nowhere/x.json", "cannot be read"),
        ("nowhere\0.json", "cannot be read"),
        (".", "cannot be read"),
    ],
)
@pytest.mark.parametrize("reader", [describe_file, lambda url: list(iter_entries(url))])
def test_urls_that_cannot_be_read(url, message, reader):
    if url == "." and reader is describe_file:
        return
    with pytest.raises(ComicSeqDataError, match=message) as error:
        reader(url)
    assert str(error.value).startswith(url) and "\n" not in str(error.value)
    assert not Path("s3:").exists()
