"""Annotations of pages in all their forms: the same page read from each, what models get wrong, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_comicseq.errors import ComicSeqDataError, PageProblem
from modeling_comicseq.layouts.boxes import check_boxes
from modeling_comicseq.pages.annotations import form_of, panels_among, read_annotation, read_annotations

SIZE = (800, 1200)
PIXELS = [(40, 60, 400, 600), (440, 60, 760, 600), (40, 660, 760, 1140)]
SHARES = [tuple(np.divide(box, SIZE * 2).astype(np.float32).tolist()) for box in PIXELS]
WORDS = ["WHO?", "ME!", "OH"]


def wide(box):
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def of_thousand(box):
    x0, y0, x1, y1 = np.divide(box, SIZE * 2) * 1000
    return [y0, x0, y1, x1]


def with_size(panels, **more):
    return {"image_width": SIZE[0], "image_height": SIZE[1], "panels": panels} | more


FORMS = {
    "panel_boxes": {"panel_boxes": SHARES, "texts": [[word] for word in WORDS], "size": list(SIZE)},
    "box": {"size": list(SIZE), "panels": [{"box": b, "text": [w]} for b, w in zip(PIXELS, WORDS, strict=True)]},
    "box_2d": with_size(
        [{"box_2d": of_thousand(b), "text_content": [{"text": w}]} for b, w in zip(PIXELS, WORDS, strict=True)]
    ),
    "rcnn_bbox": with_size([{"rcnn_bbox": wide(b), "text": w} for b, w in zip(PIXELS, WORDS, strict=True)]),
    "bbox": with_size([{"bbox": wide(b), "text": w} for b, w in zip(PIXELS, WORDS, strict=True)]),
}


def boxes_of(page):
    return [panel.box for panel in page.panels]


def problem_of(entry, size=None):
    with pytest.raises(PageProblem) as error:
        read_annotation(entry, size)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_tells_the_same(form):
    page = read_annotation(FORMS[form])
    assert form_of(FORMS[form]) == page.form == form and page.size == SIZE and page.reading_direction is None
    np.testing.assert_allclose(boxes_of(page), SHARES, rtol=1e-6)
    assert [panel.texts for panel in page.panels] == [[word] for word in WORDS]
    assert page.in_reading_order == (form not in ("rcnn_bbox", "bbox"))
    assert page.in_slot_order == (form != "rcnn_bbox")


@st.composite
def model_boxes(draw):
    """A box as a model writes it, in any order of corners and a little beyond the page, as numbers or as text."""
    ends = [draw(st.tuples(st.integers(0, 470), st.integers(530, 1080))) for _ in range(2)]
    (y0, y1), (x0, x1) = (draw(st.permutations(pair)) for pair in ends)
    numbers = [y0, x0, y1, x1]
    return draw(st.sampled_from([numbers, [str(each) for each in numbers], str(numbers), list(map(float, numbers))]))


@given(st.lists(model_boxes(), min_size=1, max_size=5))
def test_boxes_of_models_are_taken_as_they_are_meant(boxes):
    page = read_annotation({"panels": [{"box_2d": box} for box in boxes]})
    assert check_boxes(np.array(boxes_of(page))) is None and None not in boxes_of(page)


def test_what_models_write_about_panels():
    page = read_annotation(
        {
            "overall_summary": "…",
            "panels": [
                {"panel_number": "2", "box_2d": "[0, 500, 500, 1003]", "text_content": "BOOM", "characters": None},
                {
                    "panel_number": 1,
                    "box_2d": None,
                    "description": " a street ",
                    "text_content": None,
                    "characters": [],
                },
                {
                    "panel_number": 3,
                    "caption": "They talk",
                    "description": "Two people",
                    "speakers": [
                        {"character": "Ann", "dialogue": "HI", "speech_type": "dialogue"},
                        {"character": None, "dialogue": "MEANWHILE", "speech_type": "narration"},
                        {"character": "Bob", "dialogue": ""},
                    ],
                    "characters": [{"name": "Ann", "box_2d": [1, 2, 3, 4]}, "Bob"],
                },
            ],
        }
    )
    first, second, third = page.panels
    assert not page.in_slot_order and page.in_reading_order  # they are numbered otherwise than they stand
    assert (first.box, first.texts, first.caption, first.character_ids) == (None, [], "a street", [])
    assert second.box == (0.5, 0, 1, 0.5) and second.texts == ["BOOM"] and second.character_ids is None
    assert third.texts == ["HI", "MEANWHILE"] and third.speakers == ["Ann", None]
    assert third.caption == "They talk" and third.character_ids == ["Ann", "Bob"]


NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.integers(0, 1000))
ANYTHING = st.recursive(
    NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["text", "name", "speaker", "dialogue", "box_2d"]), inner, max_size=2)
    ),
    max_leaves=8,
)
KEYS = [
    "box",
    "box_2d",
    "rcnn_bbox",
    "vlm_box_px",
    "bbox",
    "text",
    "text_content",
    "speakers",
    "characters",
    "caption",
]
PANEL = st.dictionaries(st.sampled_from([*KEYS, "panel_number", "character_ids"]), ANYTHING, max_size=4)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "panels": st.lists(PANEL, max_size=3) | ANYTHING | st.dictionaries(st.text(max_size=1), PANEL, max_size=2),
        "panel_boxes": st.lists(ANYTHING, max_size=3) | ANYTHING,
        "size": ANYTHING | st.just([100, 100]),
        "texts": ANYTHING,
        "reading_direction": ANYTHING | st.sampled_from(["ltr", "rtl"]),
    },
)


@given(ENTRY)
def test_whatever_stands_in_an_entry_is_read_or_said_to_be_wrong(entry):
    try:
        page = read_annotation(entry)
    except PageProblem as problem:
        assert problem.found and problem.remedy and "\n" not in str(problem)
    else:
        assert check_boxes(np.array([box or (0, 0, 0, 0) for box in boxes_of(page)]).reshape(-1, 4)) is None
        assert all(len(panel.texts) == len(panel.speakers) and all(panel.texts) for panel in page.panels)


def test_no_panels_and_panels_as_an_object():
    assert read_annotation({"overall_summary": "a cover", "panels": None}).panels == []
    page = read_annotation({"panels": {"1": {"box_2d": [0, 0, 500, 500]}, "2": {"box_2d": [500, 0, 1000, 500]}}})
    assert boxes_of(page) == [(0, 0, 0.5, 0.5), (0, 0.5, 0.5, 1)]


BOX, OTHER = [1, 2, 3, 4], [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("objects", "boxes"),
    [
        ({"bbox": [BOX, OTHER], "categories": ["Panel ", "face"]}, [BOX]),
        ({"bbox": [BOX, OTHER], "label": [3, 4]}, [BOX, OTHER]),
        ({"bbox": [BOX, OTHER]}, [BOX, OTHER]),
        ([{"bbox": BOX, "label": "text"}, {"bbox": OTHER, "label": "frame"}, {"bbox": None}, 3], [OTHER]),
        ({"bbox": None, "category": 7}, []),
        (None, []),
        ("words", []),
    ],
)
def test_panels_among_objects(objects, boxes):
    assert panels_among(objects) == [{"bbox": box} for box in boxes]


def test_panel_numbers_beyond_all_bounds_are_none():
    panels = [{"box_2d": box, "panel_number": 10**400} for box in ([0, 0, 500, 500], [500, 0, 1000, 500])]
    assert boxes_of(read_annotation({"panels": panels})) == [(0, 0, 0.5, 0.5), (0, 0.5, 0.5, 1)]


def test_fractions_of_one_are_no_thousandths():
    assert boxes_of(read_annotation({"panels": [{"box_2d": [0.25, 0, 1, 0.5]}]})) == [(0, 0.25, 0.5, 1)]


def test_corners_where_widths_and_heights_belong():
    page = read_annotation(with_size([{"bbox": box} for box in PIXELS]))
    np.testing.assert_allclose(boxes_of(page), SHARES, rtol=1e-6)


def test_a_matched_panel_has_the_box_of_the_detector():
    panels = [{"rcnn_bbox": wide(PIXELS[0]), "vlm_box_px": wide(PIXELS[2])}, {"rcnn_bbox": None, "vlm_box_px": None}]
    page = read_annotation(with_size([*panels, {"rcnn_bbox": None, "vlm_box_px": wide(PIXELS[1])}]))
    assert boxes_of(page)[1] is None
    np.testing.assert_allclose([boxes_of(page)[0], boxes_of(page)[2]], SHARES[:2], rtol=1e-6)


def test_the_own_size_counts_above_the_given_one():
    panels = [{"box": PIXELS[0]}]
    assert read_annotation({"panels": panels}, SIZE) == read_annotation({"panels": panels, "size": SIZE}, (8, 12))


def test_a_pixel_beyond_the_page_is_cut_off():
    box = read_annotation({"size": ["800", 1200], "panels": [{"box": [-1, 0, 801, "1200"]}]}).panels[0].box
    assert box == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("direction", "said"),
    [("rtl", "rtl"), ("Left-to-right", "ltr"), ("R2L", "rtl"), ("right_to_left", "rtl"), ("", None), (None, None)],
)
def test_directions(direction, said):
    for key in ("direction", "reading_direction"):
        assert read_annotation({"panels": [], key: direction}).reading_direction == said
    assert read_annotation({"panels": [], "direction": "north"}).reading_direction is None
    assert problem_of({"panels": [], "reading_direction": "north"}).startswith("reading_direction is 'north'; ")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"book_id": "a"}, "neither panel_boxes nor panels"),
        ({"panels": ["one"]}, "panel 0 is 'one'"),
        ({"panel_boxes": "none"}, "panel_boxes is 'none'"),
        ({"panel_boxes": [[0, 0, 1]]}, "panel_boxes of panel 0 is [0, 0, 1]; give four numbers"),
        ({"panel_boxes": [[0, 0, 1, 1], [0, 0, 1, 1.2]]}, "box 1 (0, 0, 1, 1.2) is outside the page"),
        ({"panel_boxes": [[0.5, 0, 0.2, 1]]}, "is inverted"),
        ({"panel_boxes": [[0.5, 0, 0.5, 1]]}, "has no area"),
        ({"panel_boxes": [[0.5, 0, float("nan"), 1]]}, "is not finite"),
        ({"panels": [{"box": [0, 0, 5, 5]}]}, "nothing tells the page's size"),
        ({"panels": [{"box": [0, 0, 9, 5]}], "size": [5, 5]}, "outside the page"),
        ({"panels": [{"box": [3, 0, 2, 5]}], "size": [5, 5]}, "is inverted"),
        ({"panels": [{"box": [0, 0, 5, 5]}], "size": [0, 5]}, "the page's size is [0, 5]"),
        ({"panels": [{"box": [0, 0, 5, 5]}], "size": "big"}, "the page's size is 'big'"),
        ({"panels": [{"box_2d": [0, 0, 5]}]}, "box_2d of panel 0 is [0, 0, 5]"),
        ({"panels": [{"box_2d": ["a", "b", 1, 2]}]}, "box_2d of panel 0"),
        ({"panels": [{"box_2d": [10, 10, 10, 500]}]}, "has no area"),
        ({"panels": [{"box_2d": [0, 1200, 500, 1400]}]}, "has no area"),
        ({"panels": [{"box_2d": [-9, -9, -5, -5]}]}, "has no area on the page"),
        ({"panels": [{"bbox": [700, 0, 400, 5]}], "size": SIZE}, "outside the page"),
        ({"panels": [{"text": ["a", "b"], "speakers": ["x"]}]}, "panel 0 has 2 texts but 1 speakers"),
    ],
)
def test_what_cannot_be_understood_is_said(entry, words):
    assert words in problem_of(entry)


def coco(**more):
    return {
        "images": [{"id": 7, "file_name": "book/p1.png", "width": SIZE[0], "height": SIZE[1]}],
        "categories": [{"id": 1, "name": "Panel"}, {"id": 2, "name": "face"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": wide(PIXELS[0])},
            {"image_id": 7, "category_id": 2, "bbox": [1, 1, 5, 5]},
        ],
    } | more


def test_files_of_every_kind(tmp_path):
    contents = {
        "list.json": [
            FORMS["box"] | {"image": "book/p1.png"},
            FORMS["box_2d"] | {"canonical_id": "a/b/p2.png"},
            {"panels": []},
        ],
        "coco.json": coco(),
        "page.json": FORMS["box_2d"],
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    with gzip.open(tmp_path / "list.json.gz", "wt") as file:
        json.dump(contents["list.json"], file)
    for name in ("list.json", "list.json.gz"):
        found = list(read_annotations(tmp_path / name))
        assert [(page, len(what.panels)) for page, _, what in found] == [
            ("book/p1.png", 3),
            ("a/b/p2.png", 3),
            ("entry 2", 0),
        ]
    ((name, entry, page),) = read_annotations(tmp_path / "coco.json")
    assert name == "book/p1.png" and page.size == SIZE and entry["image"] == name
    np.testing.assert_allclose(boxes_of(page), SHARES[:1], rtol=1e-6)
    assert len(next(read_annotations(tmp_path / "page.json"))[2].panels) == 3


def test_a_folder_of_pages_goes_on_after_a_broken_one(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "p1.png.json").write_text("```json\n" + json.dumps(FORMS["box_2d"]) + "\n```")
    (tmp_path / "book" / "p2.json").write_text('{"panels": [')
    (tmp_path / "book" / "p3.json").write_text("[]")
    faults = {}
    found = list(read_annotations(tmp_path, lambda name, entry, problem: faults.update({name: str(problem)})))
    assert [name for name, *_ in found] == ["book/p1.png"]
    assert "its file is no JSON" in faults["book/p2"] and "no JSON object" in faults["book/p3"]
    with pytest.raises(ComicSeqDataError, match=r"page 'book/p2': its file is no JSON"):
        list(read_annotations(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ('{"panels": [', "is no JSON"),
        ('{"pages": 3}', "has the keys ['pages']; give"),
        ("[3]", "is no JSON object"),
        (json.dumps(coco(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])), "has the categories a, b"),
        (json.dumps(coco(images=[{"id": 7}])), "is no COCO file: 'width' is missing"),
        (json.dumps(coco(images=[])), "is no COCO file: 7 is missing"),
    ],
)
def test_files_that_are_none(tmp_path, content, words):
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(ComicSeqDataError) as error:
        list(read_annotations(path))
    assert str(error.value).startswith(str(path)) and words in str(error.value)
    with pytest.raises(ComicSeqDataError, match="cannot be read"):
        list(read_annotations(tmp_path / "absent.json"))


@pytest.mark.skipif("COMICSEQ_DATA" not in os.environ, reason="COMICSEQ_DATA names no folder of real comics")
@pytest.mark.parametrize(
    ("comic", "pages", "panels"), [("peppercarrot", 92, 311), ("mimi_eunice", 350, 1006), ("openmantra", 120, 621)]
)
def test_real_comics(comic, pages, panels):
    found = [page for *_, page in read_annotations(Path(os.environ["COMICSEQ_DATA"]) / comic / "panels.json")]
    assert (len(found), sum(len(page.panels) for page in found)) == (pages, panels)
    assert all(panel.box for page in found for panel in page.panels)
    assert {page.reading_direction for page in found} == {"rtl" if comic == "openmantra" else None}
