"""Pictures of every kind become upright pages of 8 bits, or are refused in words."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from modeling_comicseq.errors import PageProblem
from modeling_comicseq.pages.pictures import is_picture, read_picture

from .made_pages import content, page


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_usual_pictures_are_kept_as_they_are(kind, mode):
    data = content(page(mode=mode), kind)
    picture = read_picture(data)
    assert picture.content == data and not picture.is_changed and picture.image.mode == "RGB"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_files_become_png(kind):
    picture = read_picture(content(page(mode="RGB"), kind))
    assert decoded(picture.content).format == "PNG"
    assert decoded(picture.content).mode in ("L", "RGB")


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("P", "PNG"), ("1", "PNG"), ("RGBA", "PNG"), ("LA", "PNG")]
)
def test_other_pixels_become_rgb_or_grey(mode, kind):
    picture = read_picture(content(page(mode=mode), kind))
    assert picture.is_changed
    again = read_picture(picture.content)
    assert not again.is_changed
    assert decoded(picture.content).format == ("JPEG" if kind == "JPEG" else "PNG")
    if mode in ("P", "RGBA"):
        expected = np.asarray(page(mode=mode).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(picture.image), expected)


def test_sixteen_bits_are_scaled_and_not_cut_off():
    deep = (np.asarray(page(mode="L")).astype(np.uint16) << 8) | 7
    for kind in ("PNG", "TIFF"):
        picture = read_picture(content(Image.fromarray(deep), kind))
        np.testing.assert_array_equal(np.asarray(picture.image.convert("L")), np.asarray(page(mode="L")))


def test_transparent_parts_become_white():
    image = page(mode="RGBA")
    image.putalpha(0)
    assert np.asarray(read_picture(content(image)).image).min() == 255
    grey = content(page(mode="L"), transparency=255)
    assert read_picture(grey).is_changed


def test_the_first_frame_of_an_animation_is_taken():
    frames = [page(20), page(220)]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = content(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        picture = read_picture(data)
        assert picture.is_changed and not getattr(decoded(picture.content), "is_animated", False)
        assert abs(np.asarray(picture.image)[20, 20].astype(int) - (20, 60, 200)).max() < 3, kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = content(page(), "PNG", exif=exif)
    picture = read_picture(data)
    upright = decoded(picture.content)
    assert upright.size == ((64, 48) if orientation > 4 else (48, 64)) == picture.image.size
    assert upright.getexif().get(0x0112, 1) == 1
    assert picture.is_changed == (orientation != 1)


def png_of(width: int, height: int) -> bytes:
    """The beginning of a PNG that says it has this size."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"")]
    packed = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (content(page(), "JPEG")[:-200], "cut off or damaged"),
        (content(page(), "PNG")[:-100], "cut off or damaged"),
        (content(page(size=(1, 1))), "only 1 × 1 pixels"),
        (png_of(30_000, 30_000), "900,000,000 pixels"),
        (png_of(10_000, 9_000), "10,000 × 9,000 pixels"),
        (b"", "no picture"),
        (b"%PDF-1.7 no picture at all", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
        (content(Image.fromarray(np.zeros((32, 32), np.float32)), "TIFF"), "pixels of another kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_pictures_are_refused(data, says):
    with pytest.raises(PageProblem, match=says):
        read_picture(data)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", True), ("ch 1/第.PNG", True), ("a.txt", False), ("jpg", False), (".a.jpg", False),
        ("__MACOSX/._a.jpg", False), (".hidden/a.jpg", False), ("Thumbs.db", False), ("a.svg", False),
    ],
)  # fmt: skip
def test_pictures_are_known_by_their_names(name, expected):
    assert is_picture(name) is expected
