"""Random requests to a search, as whoever stands in front of it may send them: an answer or one sentence, and nothing else."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modeling_comicseq.errors import ComicSeqError
from modeling_comicseq.library.index import build_index, open_index

from ..stores.vector_stores import random_store
from .table import INSIDE, LONGEST

HTML = "<script>alert(1)</script><img src=x onerror=alert(2)>"
TEXTS = [
    "", " ", "a", "page 3", HTML, "' or 1=1 --", "'; drop table strips; --", "../../etc/passwd", "/etc/passwd", "file:///etc/passwd",
    "s3://bucket/x", "\x00", "\u202e\u2066", "\ud83d\ude00" * 500, "%00", "${jndi:x}", "{{7*7}}", "-1", "0", "49", "50", "9" * 400,
    "1e400", "NaN", "library/book 3/page 17.jpg", "LIBRARY\\BOOK 3\\PAGE 17.JPG", "(" * 3000, "\"", "`", "a AND b OR NOT (", "*", "~",
    "\ud800", "wo" * 20_000, "\n\r\t", "é" * 300, "漫画の頁", "book 1", "library/book 1/page 5.jpg ",
]  # fmt: skip
FILTERS = [
    None, "row > 3", "book_id = 'book 1'", "1=1; drop table strips", "row in (select row from panels)", "row > ?", "row = $1",
    "load_extension('x')", "read_parquet('/etc/passwd')", "row" * 50, "not " * 300 + "true", "'" * 7, "row / 0 = 1", "row % 0 > 1",
    "page_id like '%" + "_%" * 200 + "'", "page_id in ('" + "','".join(map(str, range(3000))) + "')", "row > 1e999", "row = -1",
    "row > 99999999999999999999999", "texts is null", "panel_boxes is not null", "lower(page_id) = upper(page_id)", "abs(row) < 3",
    "row = null", "row between 3", "array_length(texts) > 0", "length(page_id) > 3 and", "(((row = 1)))", "row = 1 or true", "🙂 = 1",
]  # fmt: skip


def picture(mode: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


def requests(number: int, seed: int):
    """Random queries, of which most are nonsense."""
    rng = random.Random(seed)
    bomb = picture("1", (30_000, 30_000))  # 900 million pixels in some kilobytes
    images = [
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        bomb,
        HTML.encode(),
        "/etc/passwd",
        "/dev/zero",
        "nowhere.png",
        "",
    ]
    vectors = [
        np.ones(8),
        np.ones(7),
        np.full(8, np.inf),
        np.zeros(8),
        "a",
        [[1]],
        np.ones((3, 8)),
        None,
        [1e300] * 8,
        object(),
    ]
    for _ in range(number):
        query: dict = {}
        for name, values in {
            "page": TEXTS,
            "words": TEXTS,
            "where": FILTERS,
            "vector": vectors,
            "image": images,
        }.items():
            if rng.random() < (0.1 if name == "image" else 0.35):
                query[name] = rng.choice(values)
        if rng.random() < 0.3:
            query["panel"] = rng.choice(TEXTS), rng.choice([0, 1, 4, 99, -1, 2**70])
        if rng.random() < 0.3:
            query["level"] = rng.choice(["strip", "panel", "book", "page", "", HTML])
        if rng.random() < 0.2:
            query["other_books"] = True
        if rng.random() < 0.1:
            query["space"] = rng.choice(["encoder", "model", HTML])
        query["k"] = rng.choice([1, 3, 60, 10_000, 0, -1, 10_001])
        yield query


def state(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    made = random_store(folder)
    metadata = Path(made.metadata)
    metadata.write_text(metadata.read_text().replace('"num_panels"', f'"texts": ["{HTML}"], "num_panels"'))
    build_index(made.url, folder / "index", progress=False)
    return open_index(folder / "index")


def test_six_hundred_random_requests_get_an_answer_or_one_sentence(index):
    before = state(Path(index.url))
    answered = refused = 0
    for query in requests(600, seed=0):
        try:
            hits = index.search(**query)
        except ComicSeqError as error:
            message = str(error)
            assert "\n" not in message and INSIDE.search(message) is None and len(message) <= LONGEST, (query, message)
            assert "root:" not in message
            refused += 1
        else:
            assert len(hits) <= query["k"] and [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
            answered += 1
    assert answered > 20 and refused > 200, (answered, refused)
    assert state(Path(index.url)) == before


def test_pages_and_books_that_are_not_there_get_one_sentence(index):
    for text in TEXTS:
        for ask in (index.page, index.pages):
            try:
                ask(text)
            except ComicSeqError as error:
                assert "\n" not in str(error) and INSIDE.search(str(error)) is None and len(str(error)) <= LONGEST


def test_texts_are_what_they_were(index):
    assert index.page(0)["texts"] in (None, [[HTML]])
    assert index.search(words="script")[0].fields.keys() >= {"texts", "page_name"}
