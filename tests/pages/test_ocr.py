"""OCR engines by name."""

import sys
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw, ImageFont

from modeling_comicseq.errors import ComicSeqArgumentError, ComicSeqDataError
from modeling_comicseq.pages import ocr
from modeling_comicseq.pages.ocr import TextLine, get_ocr, register_ocr


@pytest.fixture(scope="module")
def rapidocr():
    pytest.importorskip("rapidocr_onnxruntime", reason="the extra `ocr` is not installed")
    return get_ocr("rapidocr")


def test_lettering_is_read(rapidocr):
    image = Image.new("L", (300, 200), 255)
    draw = ImageDraw.Draw(image)
    draw.text((40, 50), "WHERE IS", font=ImageFont.load_default(28), fill=0)
    draw.text((40, 90), "THE CAT?", font=ImageFont.load_default(28), fill=0)
    lines = sorted(rapidocr(image), key=lambda line: line.box[1])
    assert [line.text.replace(" ", "") for line in lines] == ["WHEREIS", "THECAT?"]
    for line, top in zip(lines, (50, 90), strict=True):
        x0, y0, x1, y1 = line.box
        assert 0 <= x0 < 0.2 and 0.4 < x1 < 0.8 and y0 * 200 < top + 15 and y1 * 200 > top + 22
        assert 0.5 <= line.score <= 1 and not line.upright


def test_empty_pages_have_no_lines(rapidocr):
    for image in (Image.new("RGB", (64, 64)), Image.new("1", (1, 1))):
        assert rapidocr(image) == []


def test_none_reads_nothing():
    assert get_ocr("none")(Image.new("RGB", (8, 8))) == []


def test_another_engine_by_name(monkeypatch):
    monkeypatch.setattr(ocr, "OCR_ENGINES", dict(ocr.OCR_ENGINES))
    register_ocr("hello", lambda: lambda image: [TextLine((0, 0, 1, 1), "hello")])
    assert get_ocr("hello")(Image.new("RGB", (8, 8)))[0].text == "hello"
    with pytest.raises(ComicSeqArgumentError, match="There is no OCR engine 'rapid'.*none, rapidocr.*hello"):
        get_ocr("rapid")


def test_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rapidocr_onnxruntime", None)
    with pytest.raises(ComicSeqDataError, match="pip install 'comicseq\\[ocr\\]'"):
        get_ocr("rapidocr")


@pytest.mark.parametrize(("told", "threads"), [("1", [1]), ("", [])])
def test_as_many_threads_as_the_environment_says(monkeypatch, told, threads):
    engines = []
    module = SimpleNamespace(RapidOCR=lambda **options: engines.append(options))
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", module)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    get_ocr("rapidocr")
    assert list(engines[0].values()) == threads
