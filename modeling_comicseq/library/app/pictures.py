"""Pictures on their way to and from the browser: small JPEGs as data URLs, uploads within bounds. No file is written."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

from PIL import Image

from ...errors import ComicSeqArgumentError
from ...model.pictures_comicpage import PictureProblem, crop, open_picture

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
    try:
        return open_picture(content, MOST_UPLOAD_PIXELS)[1].convert("RGB")
    except PictureProblem as problem:
        raise ComicSeqArgumentError(f"The picture {problem}.") from None
