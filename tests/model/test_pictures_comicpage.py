"""Pictures that a checkpoint decodes by itself; how files become pages is tested in `tests/pages/test_pictures.py`."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from modeling_comicseq.model.gutters_comicpage import sobel
from modeling_comicseq.model.pictures_comicpage import PictureProblem, check_header, crop, load_picture


def as_file(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    values = np.arange(width * height).reshape(height, width) % 256
    return Image.fromarray(np.stack([values, values[::-1], values.T.reshape(height, width)], -1).astype(np.uint8))


def test_a_picture_is_named_in_several_ways(tmp_path):
    image, path = gradient(), tmp_path / "page.png"
    path.write_bytes(as_file(image))
    content = path.read_bytes()
    for source in (
        image,
        path,
        str(path),
        content,
        {"bytes": content, "path": None},
        {"bytes": None, "path": str(path)},
    ):
        assert np.array_equal(np.asarray(load_picture(source)), np.asarray(image))


def test_pictures_stand_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_picture(as_file(gradient(), "JPEG", exif=exif))
    assert turned.size == (30, 40)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.png", "cannot be read from 'nowhere.png'"),
        ("https://example.org/page.png", "cannot be read from 'https://"),
        ("\x00", "cannot be read from"),
        (b"no picture", "is no picture of a known kind"),
        (as_file(Image.effect_noise((99, 99), 50))[:3000], "is cut off or damaged"),
        (as_file(Image.new("RGB", (8, 200))), "has only 8 × 200 pixels"),
        (3, "is of type int"),
        (None, "is of type NoneType"),
        ({"bytes": None}, "is of type NoneType"),
    ],
)
def test_what_is_no_picture_says_so(source, message):
    with pytest.raises(PictureProblem, match=message):
        load_picture(source)


def test_a_header_tells_the_size_before_anything_is_decoded():
    assert check_header(as_file(gradient())) == 1200
    bomb = as_file(Image.new("1", (30000, 30000)))
    assert len(bomb) < 1 << 20
    with pytest.raises(PictureProblem, match="900,000,000 pixels|30,000 × 30,000 pixels"):
        check_header(bomb)
    with pytest.raises(PictureProblem, match="40 × 30 pixels.*at most 1,000"):
        check_header(as_file(gradient()), 1000)


def test_a_crop_has_whole_pixels_and_at_least_one():
    image = gradient()
    assert crop(image, (0.25, 0.1, 0.5, 0.5)).size == (10, 12)
    assert crop(image, (0.999, 0.999, 1.0, 1.0)).size == (1, 1)


def test_slopes_are_those_of_scipy():
    grey = np.random.default_rng(0).uniform(0, 255, (23, 31))
    assert np.allclose(sobel(grey), ndimage.sobel(grey, 0), atol=1e-9)
    assert np.allclose(sobel(grey.T).T, ndimage.sobel(grey, 1), atol=1e-9)
