"""Where panels stand: what boxes add to a model, and what they leave as it was."""

import pytest
import torch

from modeling_comicseq import ComicSeqForPreTraining, ComicSeqForReadingOrder, ComicSeqModel
from tests.model_inputs import boxed_config, build, draw_boxes, example, lengths_mask, tiny_config


def test_a_model_with_boxes_begins_as_one_without():
    """Its other weights are drawn from the same random numbers, and the box embedding adds nothing yet."""
    models = []
    for box_embedding in (False, True):
        torch.manual_seed(0)
        models.append(ComicSeqForPreTraining(tiny_config(box_embedding=box_embedding)).eval())
    without, with_boxes = (model.state_dict() for model in models)
    assert all(torch.equal(weight, with_boxes[name]) for name, weight in without.items())
    added = with_boxes.keys() - without.keys()
    assert added and all("box_embedding" in name for name in added)
    inputs = example("reading_order")
    boxes = draw_boxes(*inputs["attention_mask"].shape)
    expected, actual = models[0](reading_order=inputs), models[1](reading_order=inputs | {"panel_boxes": boxes})
    assert torch.equal(actual.task_logits["reading_order"], expected.task_logits["reading_order"])


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
    boxes, mask = draw_boxes(2, 20), lengths_mask([20, 14])
    with torch.no_grad():
        order = model.predict_order(attention_mask=mask, panel_boxes=boxes)
        shuffle = torch.randperm(20)
        shuffled = model.predict_order(panel_boxes=boxes[:1, shuffle])
    assert torch.equal(shuffle[shuffled], order[:1])
    assert torch.equal(order[1].sort().values, torch.cat((torch.full((6,), -1), torch.arange(14))))


def test_the_head_compares_boxes_where_they_are_shown_and_known():
    """With its layers, orders still follow the panels; what is masked, padded or not known is not read."""
    model = build("reading_order", tiny_config(box_embedding=True, box_relation_layers=2, panel_embedding_dim=1))
    boxes, mask = draw_boxes(2, 9), lengths_mask([9, 5])
    with torch.no_grad():
        logits = model(panel_boxes=boxes, attention_mask=mask).logits
        shuffle = torch.randperm(9)
        shuffled = model(panel_boxes=boxes[:1, shuffle]).logits
        torch.testing.assert_close(shuffled, logits[:1, shuffle][:, :, shuffle])
        hidden = boxes.clone()
        hidden[1, 5:] = torch.nan
        assert torch.equal(model(panel_boxes=hidden, attention_mask=mask).logits[1, :5, :5], logits[1, :5, :5])
        torch.testing.assert_close(model(panel_boxes=boxes[1:, :5]).logits, logits[1:, :5, :5])
        unknown = boxes.clone()
        unknown[:, 2] = 0.0
        masked = {"mask_position": torch.tensor([2, 2]), "attention_mask": mask}
        known = torch.arange(9) != 2
        asked, told = model(panel_boxes=unknown, attention_mask=mask).logits, model(panel_boxes=boxes, **masked).logits
        torch.testing.assert_close(told[:, known][:, :, known], asked[:, known][:, :, known])
    panels = torch.randn(2, 9, 1)
    without, scorer = model(panels, mask).logits, model.reading_order_head.scorer
    states = model.comicseq(panels, attention_mask=mask, position_ids=torch.full((2, 9), -1)).last_hidden_state
    assert torch.equal(without, scorer(states, states).masked_fill(torch.eye(9, dtype=torch.bool), 0.0))


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


def test_boxes_of_masked_panels_are_not_read():
    config = boxed_config(masked_panel_weight=0.7)
    model, inputs = build("pretraining", config), example("encoder", config)
    masked = torch.arange(5) == torch.tensor([[1], [0], [2]])
    asked = inputs | {"masked_panels": masked, "target_embeddings": torch.randn(3, 24), "labels": torch.arange(3)}
    unread = masked | (inputs["attention_mask"] == 0)
    garbage = inputs["panel_boxes"].masked_fill(unread[..., None], torch.nan)
    moved = torch.where(unread[..., None], inputs["panel_boxes"], inputs["panel_boxes"] * 0.5)
    with torch.no_grad():
        expected, same, other = (
            model(masked_panels=asked | {"panel_boxes": boxes}).loss
            for boxes in (inputs["panel_boxes"], garbage, moved)
        )
    assert torch.equal(same, expected) and not torch.equal(other, expected)
