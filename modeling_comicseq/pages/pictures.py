"""Pictures of pages: decoded within bounds, upright, in 8 bits of grey or RGB."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from ..errors import PageProblem
from ..model.pictures_comicpage import MOST_BYTES, MOST_PIXELS, PictureProblem, crop, open_picture

__all__ = ["EXTENSIONS", "MOST_BYTES", "MOST_PIXELS", "Picture", "crop", "is_picture", "read_picture"]

EXTENSIONS = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
# Formats that every reader knows are kept as they are where nothing else is to be changed.
_KEPT = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Picture:
    """The picture of a page.

    Attributes:
        image: Its pixels, RGB.
        content: A file of it, which every reader shows as `image`.
        is_changed: Whether `content` is another file than was read.
    """

    image: Image.Image
    content: bytes
    is_changed: bool


def is_picture(name: str) -> bool:
    """Whether a file is called like a picture, and is not hidden, as what systems put beside pictures."""
    *folders, file = name.split("/")
    is_hidden = any(each.startswith(".") or each == "__MACOSX" for each in (*folders, file))
    return not is_hidden and file.rpartition(".")[2].lower() in EXTENSIONS and "." in file


def read_picture(source: bytes | Image.Image, lossy: bool = False) -> Picture:
    """Decodes a picture in whole.

    It is turned as its EXIF says; of an animation the first frame is taken; transparent parts become white; CMYK, palettes
    and 16 bits of grey become 8 bits of RGB or grey. What is changed by this is encoded again, without loss but for JPEG.

    Args:
        source: The file's content, or pixels.
        lossy: Whether pixels are encoded as JPEG.

    Raises:
        PageProblem: It is no picture, damaged, too large or too small.
    """
    try:
        image, plain, is_same = open_picture(source)
    except PictureProblem as problem:
        raise PageProblem(problem.found, problem.remedy) from None
    if is_same and image.format in _KEPT and isinstance(source, bytes):
        return Picture(plain.convert("RGB"), source, False)
    buffer = io.BytesIO()
    if image.format in ("JPEG", "MPO") or lossy:
        plain.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        plain.save(buffer, "PNG")
    return Picture(plain.convert("RGB"), buffer.getvalue(), True)
