"""The app on a real index: made by the package's own commands, asked through the views."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("lancedb", reason="LanceDB is not installed")
pytest.importorskip("gradio", reason="Gradio is not installed")

from modeling_comicseq.cli import app  # noqa: E402
from modeling_comicseq.errors import ComicSeqDataError, ComicSeqError  # noqa: E402
from modeling_comicseq.library.app import map_view, page_view, question_view, search_view, server  # noqa: E402
from modeling_comicseq.library.app.blocks import _Wiring  # noqa: E402
from modeling_comicseq.library.app.collection import Collection  # noqa: E402
from modeling_comicseq.library.app.server import make_app  # noqa: E402
from modeling_comicseq.library.index import build, build_index, open_index  # noqa: E402
from modeling_comicseq.library.index.page_parts import PageParts  # noqa: E402
from modeling_comicseq.pages.ingest import ingest  # noqa: E402

from ...stores.vector_stores import random_store, write_store  # noqa: E402
from .serving import Hostile, free_port  # noqa: E402
from .small_index import drawn_page  # noqa: E402
from .test_views import HOSTILE, Tags  # noqa: E402

BOOK = "it's"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of two books of four pages, a data set of their pages, and an index of both."""
    folder = tmp_path_factory.mktemp("library")
    random = np.random.default_rng(0)
    made = write_store(
        folder, random.normal(size=(8, 3, 8)).astype(np.float32), np.ones((8, 3), bool), np.repeat([0, 1], 4)
    )
    entries = []
    for row in range(8):
        book = (BOOK, "two")[row // 4]
        (folder / "comics" / book).mkdir(parents=True, exist_ok=True)
        (folder / "comics" / book / f"{row % 4}.png").write_bytes(drawn_page(25 * row, (480, 680)))
        texts = [f"page {row} panel {slot} {HOSTILE if row == 2 else 'crown'}" for slot in range(3)]
        entries.append(
            {"sequence_index": row, "num_panels": 3, "canonical_id": f"{book}/{row % 4}.png", "texts": texts}
        )
    (folder / "stage5_metadata.json").write_text(json.dumps(entries))
    ingest([str(folder / "comics")], folder / "pages")
    build_index(made.url, folder / "index", pages=folder / "pages", picture_size=200, progress=False)
    return folder


@pytest.fixture(scope="module")
def collection(folder):
    return Collection(open_index(folder / "index"))


def test_words_pages_and_panels_are_found(collection):
    tags = Tags(search_view.find(collection, "crown", way="lettering"))
    assert len(tags.doing("open")) == 7 and all(tag["src"].startswith("data:image/jpeg") for tag in tags.named("img"))
    within = Tags(search_view.find(collection, "crown", way="lettering", book=BOOK))
    assert {tag["data-page"] for tag in within.doing("open")} == {f"{BOOK}/{page}.png" for page in (0, 1, 3)}
    like = Tags(search_view.find(collection, like=f"{BOOK}/0.png panel 2", level="panel"))
    assert len(like.doing("open")) == 12
    others = Tags(search_view.find(collection, like=f"{BOOK}/0.png", other_books=True))
    assert {tag["data-page"].split("/")[0] for tag in others.doing("open")} == {"two"}


def test_a_page_its_neighbours_its_question_and_its_point(collection):
    tags = Tags(page_view.show(collection, "two/1.png", 2))
    assert len([tag for tag in tags.named("button") if tag.get("class") == "cs-panel"]) == 3
    assert "page 2 of 4 in two" in tags.words and "two/1.png" not in {tag["data-page"] for tag in tags.doing("open")}
    assert collection.step("two/1.png", 1) == "two/2.png"
    assert "is the panel of the book" in question_view.ask(collection, None, "next", "two/1.png", 3, 1)
    assert len(Tags(map_view.draw(collection)).doing("open")) == 8


def test_hostile_texts_of_an_index_are_words(collection):
    tags = Tags(page_view.show(collection, f"{BOOK}/2.png"))
    assert not tags.named("script") and HOSTILE in tags.words


def test_larger_pictures_come_from_the_data_set_of_pages(folder, collection):
    assert max(collection.image("two/1.png").size) == 200
    large = Collection(open_index(folder / "index"), PageParts(folder / "pages"))
    assert large.image("two/1.png").size == (480, 680)


def test_an_index_whose_version_is_gone_is_asked_as_it_is_now(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_KEPT", timedelta(0))  # what was replaced is removed by the next update
    monkeypatch.setattr(build, "_LONGEST_OPTIMIZING", timedelta(0))
    made = random_store(tmp_path)
    entries = json.loads(Path(made.metadata).read_text())
    entries[0]["year"] = 50
    Path(made.metadata).write_text(json.dumps(entries))
    build_index(made.url, tmp_path / "index", progress=False)
    before = open_index(tmp_path / "index")
    collection = Collection(open_index(tmp_path / "index"))
    assert len(collection.book_pages("book 9")) == 5
    collection.index = before  # in which no file is open that can be read although it is removed
    for left in (49, 48, 47):
        entries[0]["year"] = left
        Path(made.metadata).write_text(json.dumps(entries[:left]))
        build_index(made.url, tmp_path / "index", update=True, progress=False)
    assert collection.page(made.ids[7]).book_id == "book 1" and collection.index is not before
    assert len(collection.book_pages("book 9")) == 2 and collection.num_pages == 47
    collection.index = before
    shutil.rmtree(tmp_path / "index")
    with pytest.raises(ComicSeqDataError) as caught:
        collection.page(made.ids[8])
    assert str(tmp_path) not in str(caught.value)


def test_books_and_pages_that_are_not_there_are_told_on_the_page(collection):
    wiring = _Wiring(collection, None, *[None] * 4)
    for shown in (wiring.open_book("three"), wiring.open_page("three/1.png"), wiring.step("three/1.png", 1)):
        assert "The index has no " in shown[2]
        assert 'role="alert"' in shown[2] and str(collection.index.url) not in shown[2]


def test_queries_that_no_encoder_reads_are_told(collection):
    with pytest.raises(ComicSeqDataError, match="encoder") as caught:
        search_view.find(collection, "a crown")
    assert str(collection.index.url) not in str(caught.value)


def test_hostile_queries_are_answered_or_told(collection, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("what nobody may read")
    hostile = Hostile(3, str(secret), "http://127.0.0.1:9", "two/1.png")
    told = 0
    for _ in range(300):
        how = {"words": hostile.value(), "like": hostile.value(), "book": hostile.value(), "way": "lettering"}
        how = {name: value for name, value in how.items() if name == "way" or hostile.random.random() < 0.4}
        try:
            shown = search_view.find(collection, **how)
            assert not Tags(shown).named("script")
        except ComicSeqError as error:
            told, shown = told + 1, str(error)
        assert "what nobody may read" not in shown and str(collection.index.url) not in shown
    assert told > 100
    assert len(Tags(search_view.find(collection, "crown", way="lettering")).doing("open")) == 7


def test_the_app_is_made_of_folders(folder):
    blocks = make_app(folder / "index", pages=folder / "pages", title="Mine")
    assert blocks.title == "Mine" and blocks.analytics_enabled is False


def test_the_command_takes_the_url_of_an_index_as_it_is(monkeypatch):
    asked = []
    monkeypatch.setattr(server, "launch", lambda *arguments: asked.append(arguments))
    result = CliRunner().invoke(app, ["app", "--index", "s3://bucket/index"])
    assert result.exit_code == 0, result.output
    assert [str(arguments[0]) for arguments in asked] == ["s3://bucket/index"]


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(folder):
    port = free_port()
    words = ["app", "--index", str(folder / "index"), "--port", str(port), "--title", "My comics"]
    start = "import sys; sys.argv[0] = 'comicseq'; from modeling_comicseq.command import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", start, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout.readline() == f"The app is at http://127.0.0.1:{port} until Ctrl-C.\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert "My comics" in page.read().decode()
        again = subprocess.run([sys.executable, "-c", start, *words], capture_output=True, text=True, timeout=120)
        assert again.returncode == 1 and f"cannot listen at 127.0.0.1, port {port}" in again.stderr
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
        assert running.returncode == 0 and out == "The app has ended.\n" and "Traceback" not in err
    finally:
        running.kill()
