"""Models that answer the app's questions: page models from pictures and texts, sequence models from vectors."""

from __future__ import annotations

import numpy as np
import pytest

from modeling_comicseq.checkpoints.provenance import TRAINING_PROVENANCE
from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.files import write_json
from modeling_comicseq.library.app import question_view
from modeling_comicseq.library.app.collection import Collection
from modeling_comicseq.library.app.judge import about_pictures, open_judge
from modeling_comicseq.library.app.questions import draw_question

from ...model_inputs import build
from ...page_inputs import WIDTH, page_model, panel_processor, sequence_config
from .small_index import BOXES, SmallIndex

TEXTS = [["the cat"], ["a dog runs"], ["where is the roof ?"]]
PAGE = "book 0/page_01.png"


def with_vectors(stage: int = 3, width: int = WIDTH, **options) -> SmallIndex:
    """An index with panel vectors of a stage."""
    index = SmallIndex(books=2, **options)
    index.panels = np.random.default_rng(1).normal(size=(len(index.rows), 3, width)).astype(np.float32)
    index.about = {"store": {"stage": stage, "width": width}, "origin": {"visual_encoder": "tiny-vit"}}
    return index


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of a page model, of the same with one head alone, and of a sequence model."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("page", "closure"):
        model = page_model("pretraining" if name == "page" else "visual_closure")
        model.save_pretrained(folder / name)
        (folder / "words").mkdir(exist_ok=True)
        panel_processor(folder / "words").save_pretrained(folder / name)
    build("pretraining", sequence_config()).save_pretrained(folder / "sequence")
    return folder


@pytest.mark.parametrize("kind", ["next", "missing"])
@pytest.mark.parametrize("pictures", [True, False])
def test_a_page_model_scores_candidates(saved, kind, pictures):
    collection = Collection(with_vectors(stage=5, pictures=pictures, texts=None if pictures else TEXTS))
    judge = open_judge(str(saved / "page"), collection)
    question = draw_question(collection, kind, PAGE, 2)
    scores = judge(collection, question)
    assert len(scores) == len(question.candidates) and sum(scores) == pytest.approx(1, abs=1e-5)
    assert judge(collection, question) == pytest.approx(scores, abs=1e-6)


def test_a_page_model_is_shown_what_people_are_shown():
    collection = Collection(with_vectors())
    asked = about_pictures(collection, draw_question(collection, "next", PAGE, 3))
    assert asked["boxes"] == BOXES[:2] and len(asked["texts"]) == 2 and "mask_position" not in asked
    assert all(candidate["image"].size[0] < 240 and candidate["text"] for candidate in asked["candidates"])
    asked = about_pictures(collection, draw_question(collection, "missing", PAGE, 2))
    assert asked["boxes"] == BOXES and asked["mask_position"] == 1
    without = about_pictures(Collection(SmallIndex(pictures=False)), draw_question(collection, "next", PAGE, 3))
    assert "image" not in without and not any("image" in candidate for candidate in without["candidates"])


def test_a_missing_head_is_told_on_the_page(saved):
    collection = Collection(with_vectors(stage=5))
    judge = open_judge(str(saved / "closure"), collection)
    assert judge(collection, draw_question(collection, "next", PAGE, 2))
    shown = question_view.ask(collection, judge, "missing", PAGE, 2, 1)
    assert "has no trained head" in shown and "is the panel of the book" in shown


@pytest.mark.parametrize("kind", ["next", "missing"])
def test_a_sequence_model_reads_the_vectors_of_a_stage_3_index(saved, kind):
    collection = Collection(with_vectors())
    judge = open_judge(str(saved / "sequence"), collection)
    scores = judge(collection, draw_question(collection, kind, PAGE, 2))
    assert len(scores) == 5 and sum(scores) == pytest.approx(1, abs=1e-5)


def test_models_that_cannot_be_asked_are_told_at_once(saved, tmp_path):
    with pytest.raises(ComicSeqDataError, match="page model"):
        open_judge(str(saved / "sequence"), Collection(with_vectors(stage=5)))
    with pytest.raises(ComicSeqDataError, match="width 24 but those of the index are 8 wide"):
        open_judge(str(saved / "sequence"), Collection(with_vectors(width=8)))
    with pytest.raises(ComicSeqDataError, match="There is no model"):
        open_judge(str(tmp_path / "nowhere"), Collection(with_vectors()))


def test_another_origin_is_told_beside_the_answers(saved):
    provenance = {"origin": {"visual_encoder": "another-vit"}}
    write_json(saved / "page" / TRAINING_PROVENANCE, provenance)
    try:
        collection = Collection(with_vectors(stage=5))
        judge = open_judge(str(saved / "page"), collection)
        shown = question_view.ask(collection, judge, "next", PAGE, 2, 1)
        assert "another origin than those of the index" in shown and "another-vit" in shown
    finally:
        (saved / "page" / TRAINING_PROVENANCE).unlink()
