"""Each page finds its annotation by as much of its path as both tell."""

from __future__ import annotations

from modeling_comicseq.errors import PageProblem
from modeling_comicseq.pages.annotations import PageAnnotation
from modeling_comicseq.pages.matching import PageIndex, match, path_parts
from modeling_comicseq.pages.sources import SourcePage

ANNOTATION = PageAnnotation(None, None, [], True)


def matched(pages, names, **entry):
    found, unused = match(pages, [(name, {"name": name} | entry, ANNOTATION) for name in names])
    return [each and (str(each[1]) if isinstance(each[1], PageProblem) else each[0]["name"]) for each in found], unused


def in_folder(*paths):
    parts = [path.rpartition("/") for path in paths]
    return [SourcePage(folder, name, "folder", f"/comics/{folder}", name) for folder, _, name in parts]


def test_the_longest_shared_path_counts():
    pages = in_folder("a/1.jpg", "b/1.jpg", "c/1.jpg")
    assert matched(pages, ["x/a/1.jpg", "b/1.png", "B/2"]) == (["x/a/1.jpg", "b/1.png", None], 1)


def test_spelling_and_endings_do_not_count():
    pages = in_folder("É/P1.JPG")
    assert matched(pages, ["é/p1.json"]) == (["é/p1.json"], 0)
    assert matched([SourcePage("x", "3", "pdf", "/lib/x.pdf", "3")], ["x/3"])[0] == ["x/3"]
    assert matched([SourcePage("x", "c/1.png", "archive", "/lib/x.cbz", "c/1.png")], ["x/c/1.png"])[0] == ["x/c/1.png"]
    assert matched([SourcePage("x", "p", "dataset", "owner/name", "7")], ["x/p"])[0] == ["x/p"]


def test_the_entrys_book_counts():
    pages = in_folder("a/1.jpg", "b/1.jpg")
    assert matched(pages, ["1.jpg"], book_id="b") == ([None, "1.jpg"], 0)


def test_what_is_not_sure_is_told():
    pages = in_folder("a/1.jpg", "b/1.jpg")
    (one, two), _ = matched(pages, ["1.jpg"])
    assert (
        one
        == two
        == "shares with other pages the annotation '1.jpg'; name the book's folder there, too, as in book/page"
    )
    (one, two), _ = matched(pages, ["a/1.jpg", "a/1.jpg"])
    assert one.startswith("fits several annotations, as 'a/1.jpg'") and two is None


def test_an_annotation_that_names_a_book_is_of_no_other():
    index = PageIndex()
    for place, path in enumerate(("library/a/1.jpg", "library/b/1.jpg", "library/b/2.jpg")):
        index.add(place, path_parts(path))
    assert index.find_in_book("scans/1.PNG", "B ") == [1] and index.find_in_book("x/b/1", None) == [1]
    assert index.find_in_book("2.jpg", "a") == [] and index.find_in_book("2.jpg", None) == [2]
    assert index.find_in_book("1.jpg", None) == [0, 1] and index.find_in_book("3.jpg", None) == []
