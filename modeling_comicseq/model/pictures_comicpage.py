# Copyright 2026 The ComicSeq authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Pictures of pages and panels: decoded within bounds, upright, in 8 bits of grey or RGB. Importing it takes no torch."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MOST_BYTES = 256 << 20  # of a picture's file
MOST_PIXELS = 89_478_485  # Pillow's own bound, so that no later reader warns of what is written
LEAST_SIDE = 16  # pixels


class PictureProblem(ValueError):
    """
    Why a picture cannot be used.

    Attributes:
        found: What was found, as words that follow the picture's name.
        remedy: What to do about it.
    """

    def __init__(self, found: str, remedy: str):
        super().__init__(found, remedy)
        self.found, self.remedy = found, remedy

    def __str__(self) -> str:
        return f"{self.found}; {self.remedy}"


def load_picture(source: Any) -> Image.Image:
    """
    The picture that a question names, RGB.

    Args:
        source: A PIL image, the path of a file, the content of one, or a dictionary with its `bytes` or `path`, as data
            sets hold pictures that are not decoded. It is never looked for on a network.

    Raises:
        PictureProblem: There is none, or it cannot be decoded.
    """
    if isinstance(source, dict):
        source = source.get("bytes") or source.get("path")
    if isinstance(source, (str, Path)):
        try:
            size = Path(source).stat().st_size
            if size > MOST_BYTES:
                raise PictureProblem(f"is a file of {size:,} bytes", f"take one of at most {MOST_BYTES:,}")
            source = Path(source).read_bytes()
        except (OSError, ValueError) as error:  # the latter for a name that no file can have
            if isinstance(error, PictureProblem):
                raise
            said = getattr(error, "strerror", None) or str(error)
            raise PictureProblem(
                f"cannot be read from {str(source)[:200]!r} ({said})", "name a file that is there"
            ) from None
    if not isinstance(source, (bytes, Image.Image)):
        raise PictureProblem(f"is of type {type(source).__name__}", "give a PIL image, or the path of a file")
    return open_picture(source)[1].convert("RGB")


def check_header(content: bytes, most_pixels: int = MOST_PIXELS) -> int:
    """
    Looks at the kind and size of a picture before it is decoded, and returns its number of pixels.

    Raises:
        PictureProblem: It is no picture of `FORMATS`, or its size is not possible.
    """
    with decoding(most_pixels):
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        check_size(image, most_pixels)
        return image.width * image.height


def open_picture(source: bytes | Image.Image, most_pixels: int = MOST_PIXELS) -> tuple[Image.Image, Image.Image, bool]:
    """
    Decodes a picture in whole. It is turned as its EXIF says; of an animation the first frame is taken; transparent parts
    become white; CMYK, palettes and 16 bits of grey become 8 bits of RGB or grey.

    Args:
        source: The file's content, or pixels.
        most_pixels: How many it may have.

    Returns:
        The picture as it was opened; upright in mode L or RGB; whether any reader shows the one as the other.

    Raises:
        PictureProblem: It is no picture, damaged, too large or too small.
    """
    with decoding(most_pixels):
        image = source if isinstance(source, Image.Image) else Image.open(io.BytesIO(source), formats=FORMATS)
        check_size(image, most_pixels)
        image.load()
        upright = ImageOps.exif_transpose(image)
        shown = plain(upright)
        is_same = shown is upright and shown.size == image.size and image.getexif().get(0x0112, 1) == 1
        return image, shown, is_same and not getattr(image, "is_animated", False)


def crop(image: Image.Image, box: Sequence[float]) -> Image.Image:
    """The part of a page's picture in a box, shares of the page: whole pixels, at least one each way."""
    width, height = image.size
    left, top = min(int(box[0] * width + 0.5), width - 1), min(int(box[1] * height + 0.5), height - 1)
    right, bottom = int(box[2] * width + 0.5), int(box[3] * height + 0.5)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def check_size(image: Image.Image, most_pixels: int) -> None:
    """Raises a `PictureProblem` if the picture has too many pixels, or too few a side."""
    width, height = image.size
    if width * height > most_pixels:
        raise PictureProblem(f"has {width:,} × {height:,} pixels", remedy(most_pixels))
    if min(width, height) < LEAST_SIDE:
        raise PictureProblem(f"has only {width} × {height} pixels", remedy(most_pixels))


def remedy(most_pixels: int) -> str:
    return f"save it again as JPEG or PNG, with at least {LEAST_SIDE} pixels a side and at most {most_pixels:,} in all"


@contextmanager
def decoding(most_pixels: int) -> Iterator[None]:
    """What goes wrong inside, as a `PictureProblem`; warnings, of damaged EXIF and of sizes, which are checked, are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PictureProblem, MemoryError, RecursionError):
        raise
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        count = int(pixels[0]) if pixels else MOST_PIXELS
        raise PictureProblem(f"has {count:,} pixels", remedy(most_pixels)) from None
    except Image.UnidentifiedImageError:
        found = f"is no picture of a known kind ({', '.join(FORMATS)})"
        raise PictureProblem(found, remedy(most_pixels)) from None
    except Exception as error:  # the decoders each have exceptions of their own
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        said = " ".join(said.split()) or "no reason is given"
        raise PictureProblem(f"is cut off or damaged ({said})", "restore it from the original") from None


def plain(image: Image.Image) -> Image.Image:
    """The picture in mode L or RGB."""
    if image.mode in ("L", "RGB"):
        # A grey or RGB PNG can name one value as transparent.
        return image if "transparency" not in image.info else on_white(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "I":  # 16 bits of grey in files that could hold 32
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return on_white(image)
    if image.mode in ("P", "CMYK", "YCbCr"):
        return image.convert("RGB")
    raise PictureProblem(f"has pixels of another kind ({image.mode})", "save it with 8 bits of RGB")


def on_white(image: Image.Image) -> Image.Image:
    """The picture with white where it is transparent."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
