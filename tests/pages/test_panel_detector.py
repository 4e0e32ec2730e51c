"""Panels that an object detector of transformers finds."""

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_comicseq.errors import ComicSeqDataError
from modeling_comicseq.layouts.boxes import check_boxes
from modeling_comicseq.pages.panel_detector import distinct, load_panel_detector


def save_detector(folder, classes):
    """A small detector with random weights that finds something at a low threshold."""
    from transformers import YolosConfig, YolosForObjectDetection
    from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[64, 64],
        patch_size=16,
        num_detection_tokens=12,
        id2label=dict(enumerate(classes)),
        label2id={name: index for index, name in enumerate(classes)},
    )
    model = YolosForObjectDetection(config)
    with torch.no_grad():  # so that each token sees something else
        model.vit.embeddings.detection_tokens.normal_(std=2)
        model.class_labels_classifier.layers[-1].weight.normal_(std=200)
        model.bbox_predictor.layers[-1].weight.normal_(std=200)
    model.save_pretrained(folder)
    YolosImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    torch.manual_seed(0)
    return save_detector(tmp_path_factory.mktemp("detector"), ["balloon", "Comic panel"])


def pages():
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)) for shape in [(90, 60, 3), (50, 80), (90, 60, 3)]
    ]


def test_boxes_are_shares_of_a_page_of_any_size_and_mode(detector):
    detect = load_panel_detector(detector, threshold=0.4)
    found = [detect(image) for image in pages()]
    assert sum(map(len, found)) and all(boxes.dtype == np.float32 and check_boxes(boxes) is None for boxes in found)


def test_only_classes_that_are_panels_count(detector, tmp_path):
    torch.manual_seed(0)
    others = save_detector(tmp_path / "swapped", ["Comic panel", "balloon"])
    assert [len(load_panel_detector(name, threshold=0.4)(pages()[0])) for name in (detector, others)] != [0, 0]
    one, other = (load_panel_detector(name, threshold=0.4)(pages()[0]).tolist() for name in (detector, others))
    assert not [box for box in one if box in other]


def test_no_box_above_the_threshold(detector):
    assert load_panel_detector(detector, threshold=1.0)(pages()[0]).shape == (0, 4)


def test_duplicates_and_what_is_off_the_page_go():
    boxes = np.array(
        [[0, 0, 0.5, 0.5], [0.01, 0, 0.5, 0.5], [0.6, 0.6, 1.2, 0.9], [1.1, 0, 1.2, 1], [0.2, 0.4, 0.2, 0.6]]
    )
    kept = distinct(boxes, np.array([0.5, 0.9, 0.8, 0.7, 0.6]))
    np.testing.assert_array_equal(kept, np.array([[0.01, 0, 0.5, 0.5], [0.6, 0.6, 1, 0.9]], np.float32))


def test_what_is_no_panel_detector(tmp_path):
    with pytest.raises(ComicSeqDataError, match="no class of it"):
        load_panel_detector(save_detector(tmp_path / "cats", ["cat", "dog"]))
    with pytest.raises(ComicSeqDataError, match="is no panel detector: name"):
        load_panel_detector(str(tmp_path))
    with pytest.raises(ComicSeqDataError, match="There is no .*nothing: name the folder"):
        load_panel_detector(str(tmp_path / "nothing"))


def test_the_only_class_is_the_panel(tmp_path):
    find = load_panel_detector(save_detector(tmp_path / "one", ["LABEL_0"]), threshold=0.0)
    boxes = find(Image.new("RGB", (60, 80), "white"))
    assert len(boxes) and check_boxes(boxes) is None
