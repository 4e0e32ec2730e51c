"""Where panels stand: what boxes add to a model, and what they leave as it was."""

import pytest
import torch

from modeling_comicseq import ComicSeqForPreTraining, ComicSeqForReadingOrder, ComicSeqModel
from tests.model_inputs import build, example, lengths_mask, tiny_config


def draw_boxes(*shape: int, seed: int = 4) -> torch.Tensor:
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(-2).values
    return corners.flatten(-2)


def test_a_model_with_boxes_begins_as_one_without():
    """Its other weights are drawn from the same random numbers, and the box embedding adds nothing yet."""
    models = []
    for box_embedding in (False, True):
        torch.manual_seed(0)
        models.append(ComicSeqForPreTraining(tiny_config(box_embedding=box_embedding)).eval())
    without, with_boxes = (model.state_dict() for model in models)
    assert all(torch.equal(weight, with_boxes[name]) for name, weight in without.items())
    assert all("box" in name for name in with_boxes.keys() - without.keys())
    inputs = example("encoder")
    expected = models[0].comicseq(**inputs)
    actual = models[1].comicseq(**inputs, panel_boxes=draw_boxes(*inputs["attention_mask"].shape))
    assert torch.equal(actual.pooler_output, expected.pooler_output)


def test_a_box_is_seen_and_four_zeros_add_nothing():
    config = tiny_config(box_embedding=True)
    model, inputs = build("encoder", config), example("encoder")
    boxes = draw_boxes(*inputs["attention_mask"].shape)
    with torch.no_grad():
        without = model(**inputs).last_hidden_state
        shown = model(**inputs, panel_boxes=boxes).last_hidden_state
        unknown = model(**inputs, panel_boxes=torch.zeros_like(boxes)).last_hidden_state
        strips = model.encode_strip(inputs["panel_embeddings"], inputs["attention_mask"], boxes)
        assert torch.equal(strips, model(**inputs, panel_boxes=boxes).pooler_output)
    assert torch.equal(unknown, without)
    real = inputs["attention_mask"].bool()
    assert (shown - without)[real].abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("show_asked_box", [False, True])
def test_the_box_of_the_asked_slot_is_read_only_where_the_configuration_says_so(show_asked_box):
    model = build("panel_picking", tiny_config(box_embedding=True, show_asked_box=show_asked_box))
    inputs = example("panel_picking")
    boxes = draw_boxes(*inputs["attention_mask"].shape).requires_grad_()
    model(**inputs, panel_boxes=boxes).logits.clamp(min=-1e6).pow(2).sum().backward()
    is_read = boxes.grad.abs().sum(-1) > 0
    expected = inputs["attention_mask"].bool()
    asked = torch.arange(expected.shape[1]) == inputs["mask_position"][:, None]
    assert torch.equal(is_read, expected if show_asked_box else expected & ~asked)


def test_order_is_read_from_boxes_alone_on_pages_of_any_length():
    model = build("reading_order", tiny_config(box_embedding=True, panel_embedding_dim=1))
    boxes, mask = draw_boxes(2, 64), lengths_mask([64, 20])
    with torch.no_grad():
        order = model.predict_order(attention_mask=mask, panel_boxes=boxes)
        shuffle = torch.randperm(64)
        shuffled = model.predict_order(panel_boxes=boxes[:1, shuffle])
    assert torch.equal(shuffle[shuffled], order[:1])
    assert torch.equal(order[1].sort().values, torch.cat((torch.full((44,), -1), torch.arange(20))))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"panel_boxes": torch.full((1, 3, 4), torch.nan)}, "row 0 has [nan, nan, nan, nan]"),
        ({"panel_boxes": torch.tensor([[[0, 0, 1, 1], [0, 0.5, 0.5, 0.25], [0, 0, 0, 0]]])}, "[0.0, 0.5, 0.5, 0.25]"),
        ({"panel_boxes": torch.tensor([[[0, 0, 1, 1.5]] * 3])}, "0 <= y0 < y1 <= 1"),
        ({"panel_boxes": torch.zeros(1, 3, 5)}, "(1, 3, 5) but (1, 3, 4) is expected"),
        ({"panel_boxes": torch.zeros(1, 2, 4)}, "(1, 2, 4) but (1, 3, 4) is expected"),
        ({"panel_boxes": [[0, 0, 1, 1]]}, "`panel_boxes` is of type list but must be a tensor"),
        ({"panel_embeddings": None}, "lacks `panel_embeddings`"),
    ],
)
def test_bad_boxes_are_told_of(changes, told):
    model = ComicSeqModel(tiny_config(box_embedding=True))
    with pytest.raises(ValueError) as refused:
        model(**{"panel_embeddings": torch.randn(1, 3, 24)} | changes)
    assert told in str(refused.value)


def test_a_model_that_cannot_read_boxes_says_so():
    with pytest.raises(ValueError, match="cannot read boxes"):
        ComicSeqForReadingOrder(tiny_config())(panel_boxes=draw_boxes(1, 3))
