"""Pages of PDF files come at the resolution of what was scanned."""

from __future__ import annotations

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from modeling_comicseq.errors import PageProblem
from modeling_comicseq.pages.pdf import list_pdf, read_pdf

from .made_pages import page


def test_pages_are_drawn_as_they_were_scanned(tmp_path):
    pages = [page(20, size=(96, 128)), page(200, size=(96, 128))]
    pages[0].save(tmp_path / "a.pdf", save_all=True, append_images=pages[1:], resolution=150, quality=95)
    assert list_pdf(tmp_path / "a.pdf") == ["1", "2"]
    second, first = read_pdf(tmp_path / "a.pdf", ["2", "1"])
    for picture, original in ((first, pages[0]), (second, pages[1])):
        assert picture.image.size == original.size
        assert abs(np.asarray(picture.image).astype(int) - np.asarray(original)).mean() < 4


@pytest.fixture
def empty(tmp_path):
    document = pypdfium2.PdfDocument.new()
    document.new_page(200, 300)
    document.save(tmp_path / "a.pdf")
    return tmp_path / "a.pdf"


def test_a_pdf_without_pictures_is_refused(empty):
    with pytest.raises(PageProblem, match="holds no pictures"):
        list_pdf(empty)


def test_a_coarse_picture_does_not_make_the_page_coarse(tmp_path):
    Image.new("1", (4, 4)).save(tmp_path / "a.pdf", resolution=72 * 4 / 200)  # a page of 200 points with 4 pixels
    (picture,) = read_pdf(tmp_path / "a.pdf", ["1"])
    assert picture.image.size == (200, 200)


def test_a_small_coarse_picture_on_a_page_of_other_things_does_not_either(tmp_path):
    document = pypdfium2.PdfDocument.new()
    paper = document.new_page(144, 72)
    picture = pypdfium2.PdfImage.new(document)
    picture.set_bitmap(pypdfium2.PdfBitmap.from_pil(Image.new("RGB", (36, 36))))
    picture.set_matrix(pypdfium2.PdfMatrix().scale(36, 36))
    paper.insert_obj(picture)
    paper.gen_content()
    document.save(tmp_path / "a.pdf")
    (drawn,) = read_pdf(tmp_path / "a.pdf", ["1"])
    assert drawn.image.size == (400, 200)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda raw: raw[:100], "cannot be read"),
        (lambda raw: b"", "cannot be read"),
        (lambda raw: b"no PDF", "cannot be read"),
    ],
)
def test_damaged_files_are_refused(empty, change, says):
    empty.write_bytes(change(empty.read_bytes()))
    with pytest.raises(PageProblem, match=says):
        list_pdf(empty)
