"""Pictures on their way to and from the browser: small JPEGs as data URLs, uploads within bounds. No file is written."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ...errors import ComicSeqArgumentError, PageProblem
from ...pages.pictures import FORMATS, read_picture

__all__ = ["MOST_UPLOAD_BYTES", "MOST_UPLOAD_PIXELS", "as_url", "crop", "read_upload"]

MOST_UPLOAD_BYTES = 12 << 20
MOST_UPLOAD_PIXELS = 40_000_000
_QUALITY = 82  # of JPEG: no artefacts are seen at the sizes that are shown


def as_url(image: Image.Image, width: int, height: int) -> str:
    """A data URL with the picture as JPEG, made smaller where it is larger than `width` or `height` pixels."""
    small = image.convert("RGB")
    small.thumbnail((width, height), Image.Resampling.LANCZOS, reducing_gap=3)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def crop(image: Image.Image, box: Sequence[float]) -> Image.Image:
    """The part of a page in a box of shares of it; the whole page where the box says nothing."""
    x0, y0, x1, y1 = (min(max(float(edge), 0.0), 1.0) for edge in box)
    if not (x1 > x0 and y1 > y0):
        return image
    width, height = image.size
    left, top = int(x0 * width), int(y0 * height)
    return image.crop((left, top, max(int(x1 * width + 0.5), left + 1), max(int(y1 * height + 0.5), top + 1)))


def read_upload(url: Any) -> Image.Image | None:
    """The picture that a browser sent, upright and in RGB.

    Args:
        url: A data URL, `data:image/…;base64,…`; nothing, or an empty one, where none was chosen.

    Raises:
        ComicSeqArgumentError: It is none, is no picture, or is too large.
    """
    if url is None or url == "":
        return None
    if not isinstance(url, str) or not url.startswith("data:") or ";base64," not in url[:200]:
        raise ComicSeqArgumentError(
            "The picture must come as a data URL, data:image/…;base64,…: no file and no address is opened for a request."
        )
    if len(url) > MOST_UPLOAD_BYTES * 4 // 3 + 400:
        raise ComicSeqArgumentError(f"The picture has more than {MOST_UPLOAD_BYTES >> 20} MiB: make it smaller.")
    try:
        content = base64.b64decode(url.partition(";base64,")[2], validate=True)
    except (binascii.Error, ValueError):
        raise ComicSeqArgumentError("The picture's data URL is not base64: send it again.") from None
    pixels = _pixels(content)
    if pixels > MOST_UPLOAD_PIXELS:
        raise ComicSeqArgumentError(
            f"The picture has {pixels / 1e6:,.0f} million pixels but at most {MOST_UPLOAD_PIXELS / 1e6:.0f} million are"
            " taken: make it smaller."
        )
    try:
        return read_picture(content).image
    except PageProblem as problem:
        raise ComicSeqArgumentError(f"The picture {problem}.") from None


def _pixels(content: bytes) -> int:
    """The number of pixels that the head of a file tells, without decoding it; 0 where it tells none."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return image.size[0] * image.size[1]
    except Image.DecompressionBombError:
        return MOST_UPLOAD_PIXELS + 1 if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS
    except (OSError, ValueError, SyntaxError, TypeError, OverflowError):
        return 0  # `read_picture` says what it is
