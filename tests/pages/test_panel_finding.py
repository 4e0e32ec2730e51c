"""Panels that are found by the gutters of a page."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from modeling_comicseq.errors import ComicSeqArgumentError
from modeling_comicseq.layouts.boxes import as_shares, check_boxes, iou
from modeling_comicseq.pages.drawn.book import draw_book
from modeling_comicseq.pages.panel_finding import PANEL_FINDERS, find_panels, register_panel_finder

SIZE = (420, 600)
# A row of two panels, a wide one, and a row of three, in pixels.
PANELS = [
    (20, 20, 200, 200),
    (210, 20, 400, 200),
    (20, 212, 400, 380),
    (20, 390, 140, 580),
    (150, 390, 270, 580),
    (280, 390, 400, 580),
]
FILLS = [(150, 180, 200), (190, 220, 160), (210, 140, 90)]


def draw_art(draw: ImageDraw.ImageDraw, panel, rng, fill=None):
    """Strokes and spots inside of a panel, which reach no side from end to end."""
    x0, y0, x1, y1 = panel
    if fill is not None:
        draw.rectangle(panel, fill=fill)
    for _ in range(12):
        x, y = rng.uniform(x0 + 10, x1 - 30), rng.uniform(y0 + 10, y1 - 30)
        shade = tuple(int(value) for value in rng.integers(0, 255, 3))
        draw.ellipse((x, y, x + rng.uniform(5, 20), y + rng.uniform(5, 20)), fill=shade, outline="black")


def page(panels=PANELS, paper="white", fill=None, frame="black", size=SIZE):
    """A drawn page; each panel has the fill, or its own of several."""
    image = Image.new("RGB", size, paper)
    draw, rng = ImageDraw.Draw(image), np.random.default_rng(0)
    for number, panel in enumerate(panels):
        draw_art(draw, panel, rng, fill[number] if isinstance(fill, list) else fill)
        if frame:
            draw.rectangle(panel, outline=frame, width=2)
    return image


def assert_found(image, panels=PANELS, at_least=0.9):
    found = find_panels(image)
    assert found.dtype == np.float32 and check_boxes(found) is None
    overlaps = iou(found, np.array(panels) / (*image.size, *image.size))
    assert overlaps.shape == (len(panels), len(panels)), found * (*image.size, *image.size)
    assert (overlaps.max(0) >= at_least).all() and (overlaps.max(1) >= at_least).all(), overlaps.round(2)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"paper": "black", "frame": None, "fill": (200, 190, 180)},
        {"paper": (230, 200, 120)},
        {"paper": (90, 20, 40), "fill": (220, 220, 220), "frame": None},
        {"fill": (150, 170, 150), "frame": None},
    ],
    ids=["white", "black", "coloured", "dark", "no frames"],
)
def test_gutters_of_any_colour(kind):
    assert_found(page(**kind))


def test_scan_with_noise():
    pixels = np.asarray(page().convert("L")).astype(float) * 0.85 + np.random.default_rng(0).normal(20, 8, SIZE[::-1])
    assert_found(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def test_balloons_and_figures_across_gutters():
    image = page(fill=(180, 180, 180))
    draw = ImageDraw.Draw(image)
    draw.ellipse((160, 60, 250, 110), fill="white", outline="black", width=2)
    draw.ellipse((60, 180, 110, 230), fill=(120, 60, 60), outline="black", width=2)
    assert_found(image)


def test_panels_that_share_a_frame():
    panels = [(0, 0, 210, 300), (210, 0, 420, 300), (0, 300, 420, 600)]
    assert_found(page(panels, fill=FILLS), panels)


def test_slanted_gutter():
    image = page([(20, 20, 400, 290), (20, 310, 400, 580)], fill=(170, 180, 190))
    ImageDraw.Draw(image).polygon(
        [(200, 18), (212, 18), (252, 292), (240, 292)], fill="white", outline="black", width=2
    )
    assert_found(image, [(20, 20, 240, 290), (212, 20, 400, 290), (20, 310, 400, 580)])


def test_bleeds():
    panels = [(0, 0, 200, 280), (210, 0, 420, 280), (0, 290, 420, 600)]
    assert_found(page(panels, fill=FILLS, frame=None), panels)


def test_long_strip_to_scroll_through():
    panels = [(20, top, 300, top + 260) for top in range(20, 4000, 290)]
    assert_found(page(panels, size=(320, 4080)), panels)


def test_page_without_gutters_is_one_panel():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (60, 40, 3), dtype=np.uint8)).resize(SIZE)
    for image in (noise, Image.new("L", SIZE, 255), Image.new("RGB", (1, 1)), Image.new("1", (900, 3))):
        assert find_panels(image).tolist() == [[0, 0, 1, 1]]


def test_same_panels_at_any_size_and_mode():
    image = page()
    for other in (image.resize((1260, 1800)), image.convert("CMYK"), image.convert("P")):
        assert_found(other, np.array(PANELS) * other.width / image.width)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_boxes_of_any_picture_are_on_the_page(width, height, seed, block):
    shades = np.random.default_rng(seed).choice([0, 0, 128, 255, 255, 255], (height, width)).astype(np.uint8)
    found = find_panels(Image.fromarray(shades).resize((width * block, height * block), Image.Resampling.NEAREST))
    assert len(found) and check_boxes(found) is None


def test_panels_of_drawn_comics():
    for image, entry in draw_book(seed=3, book=1, pages=2, width=500):
        given_boxes = as_shares([panel["box"] for panel in entry["panels"]], entry["size"])
        overlaps = iou(given_boxes, find_panels(image))
        assert (overlaps.max(1) >= 0.75).all()


def test_another_finder_by_name(monkeypatch):
    monkeypatch.setitem(PANEL_FINDERS, "gutters", PANEL_FINDERS["gutters"])
    register_panel_finder("halves", lambda image: np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]], np.float32))
    assert len(find_panels(page(), "halves")) == 2
    del PANEL_FINDERS["halves"]
    with pytest.raises(ComicSeqArgumentError, match="There is no panel finder 'guters': did you mean `gutters`"):
        find_panels(page(), "guters")
