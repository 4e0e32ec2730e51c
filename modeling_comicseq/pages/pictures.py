"""Pictures of pages: decoded within bounds, upright, in 8 bits of grey or RGB."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ..errors import PageProblem, in_words

__all__ = ["EXTENSIONS", "MOST_BYTES", "Picture", "is_picture", "read_picture"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
EXTENSIONS = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
# Formats that every reader knows are kept as they are where nothing else is to be changed.
_KEPT = ("JPEG", "PNG", "WEBP")
MOST_BYTES = 256 << 20  # of a picture's file
MOST_PIXELS = 89_478_485  # Pillow's own bound, so that no later reader warns of what is written
LEAST_SIDE = 16  # pixels
_REMEDY = f"save it again as JPEG or PNG, with at least {LEAST_SIDE} pixels a side and at most {MOST_PIXELS:,} in all"


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged EXIF, which is ignored, and of sizes, which are checked
            image = source if isinstance(source, Image.Image) else Image.open(io.BytesIO(source), formats=FORMATS)
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise PageProblem(f"has {width:,} × {height:,} pixels", _REMEDY)
            if min(width, height) < LEAST_SIDE:
                raise PageProblem(f"has only {width} × {height} pixels", _REMEDY)
            image.load()
            kind = image.format
            upright = ImageOps.exif_transpose(image)
            plain = _plain(upright)
            is_kept = kind in _KEPT and not getattr(image, "is_animated", False) and plain.size == image.size
            is_kept = is_kept and plain is upright and image.getexif().get(0x0112, 1) == 1
            if is_kept and isinstance(source, bytes):
                return Picture(plain.convert("RGB"), source, False)
            buffer = io.BytesIO()
            if kind in ("JPEG", "MPO") or lossy:
                plain.save(buffer, "JPEG", quality=95, subsampling=0)
            else:
                plain.save(buffer, "PNG")
            return Picture(plain.convert("RGB"), buffer.getvalue(), True)
    except PageProblem:
        raise
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise PageProblem(f"has {int(pixels[0]) if pixels else MOST_PIXELS:,} pixels", _REMEDY) from None
    except Image.UnidentifiedImageError:
        raise PageProblem(f"is no picture of a known kind ({', '.join(FORMATS)})", _REMEDY) from None
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # the decoders each have exceptions of their own
        raise PageProblem(f"is cut off or damaged ({in_words(error)})", "restore it from the original") from None


def _plain(image: Image.Image) -> Image.Image:
    """The picture in mode L or RGB."""
    if image.mode in ("L", "RGB"):
        # A grey or RGB PNG can name one value as transparent.
        return image if "transparency" not in image.info else _on_white(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "I":  # 16 bits of grey in files that could hold 32
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_white(image)
    if image.mode in ("P", "CMYK", "YCbCr"):
        return image.convert("RGB")
    raise PageProblem(f"has pixels of another kind ({image.mode})", "save it with 8 bits of RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """The picture with white where it is transparent."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
