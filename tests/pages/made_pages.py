"""Tiny pages of two panels, as pictures, folders and archives."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZipFile

from PIL import Image, ImageDraw

SIZE = (48, 64)
BOXES = [[4, 4, 44, 30], [4, 34, 44, 60]]  # in pixels, in reading order


def page(shade: int = 90, mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for x0, y0, x1, y1 in BOXES:
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=(shade, 60, 200), outline="black")
    return image.convert(mode)


def content(image: Image.Image | None = None, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image or page()).save(buffer, kind, **options)
    return buffer.getvalue()


def write_pages(folder: Path, names: list[str], **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content(page(40 + number), **options))
    return folder


def write_archive(path: Path, entries: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def annotation(name: str, **more) -> dict:
    panels = [{"box": box, "text": [f"{name} {number}"]} for number, box in enumerate(BOXES)]
    return {"image": name, "size": list(SIZE), "panels": panels} | more
