"""Where panels stand, as pipelines and endpoints take it: mirrored by the direction of the page, or left out."""

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, List, Value
from torch.testing import assert_close
from transformers import pipeline

from modeling_comicseq.layouts.boxes import mirror
from modeling_comicseq.model.handler import EndpointHandler
from tests.model_inputs import CLASSES, boxed_config, build, draw_boxes, example

ORDER, STRIP, PICKING = "comic-reading-order", "comic-strip-embedding", "comic-panel-picking"
PAGE = np.random.default_rng(0).standard_normal((4, 24)).astype(np.float32)
BOXES = draw_boxes(4).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    build("pretraining", boxed_config()).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pipelines(folder):
    return {task: pipeline(task, model=folder) for task in (ORDER, STRIP, PICKING)}


@pytest.fixture(scope="module")
def model(folder):
    return CLASSES["pretraining"].from_pretrained(folder).eval()


def test_answers_are_the_models(pipelines, model):
    inputs = example("panel_picking", model.config)
    with torch.no_grad():
        logits = model(panel_picking=inputs).task_logits["panel_picking"]
    asked = []
    for row in range(3):
        panels, candidates = int(inputs["attention_mask"][row].sum()), int(inputs["candidate_mask"][row].sum())
        asked.append({name: inputs[name][row, :panels].numpy() for name in ("panel_embeddings", "panel_boxes")})
        asked[-1] |= {"candidate_embeddings": inputs["candidate_embeddings"][row, :candidates].numpy()}
        asked[-1] |= {"mask_position": int(inputs["mask_position"][row])}
    answers = pipelines[PICKING](asked, batch_size=3)
    for answer, row in zip(answers, logits, strict=True):
        assert_close(torch.tensor(answer["scores"]), row[: len(answer["scores"])].softmax(0))


def test_pages_that_are_read_from_the_right_are_mirrored(pipelines, model):
    page = {"panel_embeddings": PAGE, "panel_boxes": BOXES}
    without, shown, same, turned = pipelines[STRIP](
        [{"panel_embeddings": PAGE}, page, page | {"reading_direction": "ltr"}, page | {"reading_direction": "rtl"}],
        batch_size=4,
    )
    with torch.no_grad():
        given = {"panel_embeddings": torch.from_numpy(PAGE)[None]}
        expected = model.comicseq(**given, panel_boxes=torch.from_numpy(mirror(BOXES))[None]).pooler_output[0]
        bare = model.comicseq(**given).pooler_output[0]
    assert_close(torch.from_numpy(turned), expected)
    assert_close(torch.from_numpy(without), bare)
    assert np.array_equal(shown, same) and abs(shown - turned).max() > 1e-3 and abs(shown - without).max() > 1e-3


def test_order_of_boxes_alone_beside_pages_with_vectors(pipelines, model):
    pages = [{"panel_boxes": BOXES}, {"panel_embeddings": PAGE, "panel_boxes": BOXES}, {"panel_embeddings": PAGE}]
    together = pipelines[ORDER](pages, batch_size=3)
    assert together == [pipelines[ORDER](page) for page in pages]
    reader = CLASSES["reading_order"].from_pretrained(pipelines[ORDER].model.name_or_path).eval()
    expected = reader.predict_order(panel_boxes=torch.from_numpy(BOXES)[None])[0].tolist()
    assert together[0]["order"] == expected


def test_rows_of_a_data_set(pipelines):
    features = Features({"panel_embeddings": List(Value("float32")), "panel_boxes": List(Value("float32"))})
    features |= {"reading_direction": Value("string"), "book_id": Value("string")}
    rows = [
        {"panel_embeddings": PAGE.ravel(), "panel_boxes": BOXES.ravel(), "reading_direction": each, "book_id": "b"}
        for each in ("rtl", None)
    ]
    answers = list(pipelines[STRIP](Dataset.from_list(rows, features=Features(features))))
    page = {"panel_embeddings": PAGE, "panel_boxes": BOXES}
    assert np.array_equal(answers[0], pipelines[STRIP](page | {"reading_direction": "rtl"}))
    assert np.array_equal(answers[1], pipelines[STRIP](page))
    plain = pipeline(STRIP, model=build("encoder"))  # reads no boxes: those of the data set are left there
    assert np.array_equal(
        list(plain(Dataset.from_list(rows, features=Features(features))))[0], plain({"panel_embeddings": PAGE})
    )
    with pytest.raises(ValueError, match="does not take `panel_boxes`"):
        plain(page)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"panel_boxes": BOXES[:3]}, "`panel_boxes` has 3 vectors but the page has 4 panels"),
        ({"panel_boxes": BOXES[:, [2, 1, 0, 3]]}, "is inverted: give x0 y0 x1 y1 as shares of the page"),
        ({"panel_boxes": BOXES * 1000}, "is outside the page"),
        ({"panel_boxes": BOXES[:, :3]}, "`panel_boxes` has the shape (4, 3) but (any, 4) is expected"),
        ({"panel_boxes": np.full((4, 4), np.nan)}, "`panel_boxes` holds NaN, infinity"),
        ({"reading_direction": "up"}, "`reading_direction` is 'up' but must be ltr or rtl"),
    ],
)
def test_bad_boxes_are_told_of(change, told, folder, pipelines):
    page = {"panel_embeddings": PAGE, "panel_boxes": BOXES} | change
    with pytest.raises(ValueError) as refused:
        pipelines[STRIP](page)
    assert told in str(refused.value)


def test_an_endpoint_takes_boxes(folder, pipelines):
    handler = EndpointHandler(folder)
    page = {"panel_boxes": BOXES.tolist(), "reading_direction": "rtl"}
    parameters = {"parameters": {"task": ORDER}}
    answer, expected = handler({"inputs": page} | parameters), pipelines[ORDER](page)
    assert answer["order"] == expected["order"]
    assert_close(torch.tensor(answer["score"]), torch.tensor(expected["score"]))  # the weights lie elsewhere in memory
    refused = handler({"inputs": page | {"panel_boxes": [[0, 0, 1, 2]]}} | parameters)
    assert refused["status"] == 400 and "is outside the page" in refused["error"]
    assert (
        "has 13 vectors but at most 12"
        in handler({"inputs": {"panel_boxes": [[0, 0, 1, 1]] * 13}} | parameters)["error"]
    )
