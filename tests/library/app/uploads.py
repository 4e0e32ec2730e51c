"""Pictures as browsers send them."""

from __future__ import annotations

import base64
import io
import struct
import zlib

from PIL import Image


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture_url(size: tuple[int, int] = (240, 340)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, "gray").save(buffer, "PNG")
    return data_url(buffer.getvalue())


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose head tells of any number of pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
