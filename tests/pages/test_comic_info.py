"""What `ComicInfo.xml` tells, and what is refused of it."""

from __future__ import annotations

import pytest

from modeling_comicseq.errors import PageProblem
from modeling_comicseq.pages.comic_info import ComicInfo, read_comic_info

INFO = "<ComicInfo><Series>Мир</Series><Number>3</Number><Title> A\n b </Title><Manga>{}</Manga></ComicInfo>"
BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><ComicInfo><Title>&c;</Title></ComicInfo>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><ComicInfo><Title>&b;</Title></ComicInfo>'


@pytest.mark.parametrize(("manga", "direction"), [("YesAndRightToLeft", "rtl"), ("Yes", None), ("No", None)])
def test_series_number_title_and_direction_are_read(manga, direction):
    assert read_comic_info(INFO.format(manga).encode()) == ComicInfo("Мир", "3", "A b", direction)


def test_what_is_not_told_is_not_known():
    assert read_comic_info(b"<ComicInfo><Title/></ComicInfo>") == ComicInfo()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BOMB.encode(), "declares a document type"),
        (OUTSIDE.encode(), "declares a document type"),
        (b"<ComicInfo><Title>", "is no XML"),
        (b"", "is no XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "is no XML"),
        (b"<a>" + b" " * (4 << 20), "bytes"),
    ],
)
def test_other_content_is_refused(content, says):
    with pytest.raises(PageProblem, match=says):
        read_comic_info(content)
