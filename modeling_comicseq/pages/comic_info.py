"""`ComicInfo.xml`, the description that comic readers and taggers put into archives and folders."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ..errors import PageProblem

__all__ = ["COMIC_INFO", "ComicInfo", "read_comic_info"]

COMIC_INFO = "ComicInfo.xml"
_LARGEST = 4 << 20  # bytes


@dataclass(frozen=True, slots=True)
class ComicInfo:
    """What is known of a book; None where it is not told."""

    series: str | None = None
    number: str | None = None
    title: str | None = None
    reading_direction: str | None = None


def read_comic_info(content: bytes) -> ComicInfo:
    """Reads the file, of which entities and document types are refused.

    Raises:
        PageProblem: It is too large, no XML, or has a document type.
    """
    remedy = "mend or remove it"
    if len(content) > _LARGEST:
        raise PageProblem(f"{COMIC_INFO} has {len(content):,} bytes", remedy)
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ParseError, LookupError, ValueError) as error:  # unknown encodings, too
        what = "declares a document type" if isinstance(error, DefusedXmlException) else f"is no XML ({error})"
        raise PageProblem(f"{COMIC_INFO} {what}", remedy) from None
    texts = {each.tag.rpartition("}")[2]: " ".join((each.text or "").split()) or None for each in root}
    direction = "rtl" if texts.get("Manga") == "YesAndRightToLeft" else None
    return ComicInfo(texts.get("Series"), texts.get("Number"), texts.get("Title"), direction)
