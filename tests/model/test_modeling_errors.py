"""Wrong inputs are refused by one sentence: the argument, what it has, and what is allowed."""

import pytest
import torch

from tests.model_inputs import TASKS, build, example, tiny_config


def message(name: str, config=None, **changes) -> str:
    """The sentence with which the class `name` refuses its example inputs after `changes` (a value, or of a value)."""
    inputs = example(name)
    for key, change in changes.items():
        inputs[key] = change(inputs[key]) if callable(change) else change
    with pytest.raises(ValueError) as error:
        build(name, config)(**inputs)
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    return text


def put(row, value):
    """Changes one row of a tensor."""

    def change(tensor):
        tensor = tensor.clone()
        tensor[row] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("name", "argument", "width"),
    [
        ("encoder", "panel_embeddings", 24),
        ("panel_picking", "panel_embeddings", 24),
        ("panel_picking", "candidate_embeddings", 24),
        ("character_coherence", "candidate_embeddings", 24),
        ("visual_closure", "candidate_embeddings", 24),
        ("caption_relevance", "caption_embeddings", 28),
        ("caption_relevance", "candidate_embeddings", 24),
        ("text_cloze", "text_embeddings", 20),
        ("text_cloze", "visual_embedding", 16),
        ("text_cloze", "candidate_text_embeddings", 20),
        ("reading_order", "panel_embeddings", 24),
    ],
)
def test_wrong_width(name, argument, width):
    text = message(name, **{argument: lambda tensor: torch.cat((tensor, tensor[..., :3]), -1)})
    assert f"`{argument}`" in text and f"{width + 3})" in text and f"{width})" in text


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("encoder", "attention_mask", "(3, 5)"),
        ("panel_picking", "mask_position", "(3)"),
        ("panel_picking", "candidate_mask", "(3, 4)"),
        ("panel_picking", "labels", "(3)"),
        ("character_coherence", "labels", "(3, 4)"),
        ("reading_order", "labels", "(3, 5, 5)"),
        ("text_cloze", "text_embeddings", "(3, 5, 20)"),
        ("text_cloze", "visual_embedding", "(3, 16)"),
        ("pretraining", "labels", "(3)"),
    ],
)
def test_wrong_shape(name, argument, expected):
    assert f"`{argument}` has the shape (" in (text := message(name, **{argument: lambda tensor: tensor[:2]}))
    assert expected in text


def test_vectors_of_one_modality_are_not_taken_for_another():
    assert "`panel_embeddings` has the shape (3, 5, 24) but (any, any, 16)" in message(
        "visual_closure", modality="visual"
    )
    assert "`modality` is 'audio' but must be one of panel, visual, text, caption" in message(
        "visual_closure", modality="audio"
    )
    assert "`candidate_modality` is 'audio' but must be" in message("encoder", candidate_modality="audio")


def test_more_panels_than_positions():
    text = message("encoder", panel_embeddings=torch.randn(1, 13, 24), attention_mask=None)
    assert "`panel_embeddings` has 13 panels a row but `max_position_embeddings` is 12" in text
    outputs = build("encoder")(torch.randn(1, 13, 24), position_ids=torch.full((1, 13), -1))
    assert outputs.last_hidden_state.isfinite().all(), "panels without positions may be more"


@pytest.mark.parametrize("position", [12, -2])
def test_position_outside_the_table(position):
    positions = torch.arange(5).repeat(3, 1)
    text = message("encoder", position_ids=put((2, 1), position)(positions))
    assert "`position_ids`" in text and "12" in text and f"row 2 has [0, {position}, 2, 3, 4]" in text


def test_positions_of_a_wrong_shape():
    for name in ("encoder", "panel_picking", "visual_closure", "text_cloze"):
        assert "`position_ids` has the shape (5,)" in message(name, position_ids=torch.arange(5))
        assert "`position_ids` has the shape (1, 5)" in message(name, position_ids=torch.arange(5)[None])


def test_candidates_after_the_last_position():
    config = tiny_config(max_position_embeddings=5)
    assert "`max_position_embeddings`, which is 5, but row 0 has 5" in message("text_closure", config)
    assert "but row 1 has 12" in message(
        "encoder",
        candidate_embeddings=torch.randn(3, 2, 24),
        candidate_position=torch.tensor([0, 12, 3]),
    )


@pytest.mark.parametrize("name", ["encoder", "visual_closure", "reading_order", "pretraining"])
def test_row_without_a_panel(name):
    text = message(name, attention_mask=put(1, 0))
    assert "`attention_mask` must mark at least one real panel in every row, but row 1 has [0, 0, 0, 0, 0]." in text


@pytest.mark.parametrize("name", ["panel_picking", "caption_relevance"])
def test_row_without_a_candidate(name):
    assert "`candidate_mask` must mark at least one real candidate" in message(name, candidate_mask=put(0, 0))


@pytest.mark.parametrize("name", ["panel_picking", "text_cloze"])
@pytest.mark.parametrize("position", [4, 5, -1])  # padded, behind the row, before it
def test_asked_panel_is_not_real(name, position):
    changes = {"mask_position": put(1, position)}
    expected = f"`mask_position` must be a real panel among the 5 slots, but row 1 has {position}."
    assert message(name, **changes) == expected
    assert message(name, **changes, position_ids=torch.arange(5).repeat(3, 1)) == expected


@pytest.mark.parametrize("name", ["panel_picking", "visual_closure", "caption_relevance", "text_cloze"])
def test_label_outside_the_candidates(name):
    for label in (4, -1):
        text = message(name, labels=put(2, label))
        assert "`labels` must be from 0 to below 4" in text and f"row 2 has {label}." in text
    assert message(name, labels=put(0, 2)) == "`labels` must not be a padded candidate, but row 0 has 2."


@pytest.mark.parametrize("name", ["character_coherence", "reading_order"])
def test_binary_label_is_no_truth_value(name):
    assert "`labels` must be 0, 1 or -100, but row 1 has " in message(name, labels=put((1, 0), 2))


def test_binary_label_of_a_padded_candidate():
    for label in (0, 1):
        text = message("character_coherence", labels=put((0, 3), label))
        assert "`labels` must be -100 at padded candidates, but row 0 has " in text


def test_picture_without_an_asked_panel():
    text = message("encoder", visual_embedding=torch.randn(3, 16))
    assert "`visual_embedding`" in text and "`mask_position`" in text


@pytest.mark.parametrize("task", TASKS)
def test_missing_and_unknown_inputs_are_named(task):
    model, inputs = build(task), example(task)
    required = [field.name for field in model.task.inputs if not field.is_optional]
    with pytest.raises(ValueError, match=f"^`{task}` lacks {' and '.join(f'`{name}`' for name in required)}.$"):
        model()
    for name in required:
        with pytest.raises(ValueError, match=f"^`{task}` lacks `{name}`.$"):
            model(**{key: value for key, value in inputs.items() if key != name})
    with pytest.raises(ValueError, match=f"^`{task}` does not take `{required[0]}s` but .*`{required[0]}`"):
        model(**inputs, **{f"{required[0]}s": inputs[required[0]]})


@pytest.mark.parametrize(
    ("name", "unknown"),
    [("caption_relevance", "panel_embeddings"), ("reading_order", "position_ids"), ("encoder", "atention_mask")],
)
def test_inputs_of_other_classes_are_not_passed_over(name, unknown):
    with pytest.raises(ValueError, match=f"does not take `{unknown}` but"):
        build(name)(**example(name), **{unknown: torch.ones(3, 5)})


def test_the_encoder_and_pretraining_name_what_is_missing():
    with pytest.raises(ValueError, match="lacks `panel_embeddings`"):
        build("encoder")()
    pages = {"panel_embeddings": torch.ones(1, 2, 24), "masked_panels": torch.ones(1, 2)}
    text = message("pretraining", tiny_config(masked_panel_weight=1.0), masked_panels=pages)
    assert text == "`masked_panels` lacks `target_embeddings` and `labels`."
    assert "`panel_picking` is of type Tensor but must be a dictionary" in message(
        "pretraining", panel_picking=torch.ones(1)
    )


@pytest.mark.parametrize("make", [lambda tensor: tensor.numpy(), lambda tensor: tensor.tolist()])
@pytest.mark.parametrize("name", [*TASKS, "encoder"])
def test_arrays_and_lists_are_no_tensors(name, make):
    for argument, value in example(name).items():
        text = message(name, **{argument: make(value)})
        kind = type(make(value)).__name__
        assert text.startswith(f"`{argument}` is of type {kind} but must be a tensor: `torch.as_tensor`")


@pytest.mark.parametrize("name", [*TASKS, "encoder"])
def test_too_few_axes(name):
    for argument, value in example(name).items():
        text = message(name, **{argument: value[0]})
        assert text.startswith(f"`{argument}` has the shape {tuple(value.shape[1:])} but (")


@pytest.mark.parametrize("name", ["panel_picking", "text_cloze"])
@pytest.mark.parametrize("argument", ["mask_position", "labels"])
def test_places_are_whole_numbers(name, argument):
    assert message(name, **{argument: torch.Tensor.float}).startswith(
        f"`{argument}` is of torch.float32 but must hold"
    )
    inputs = example(name)
    expected = build(name)(**inputs).loss
    assert torch.equal(build(name)(**inputs | {argument: inputs[argument].int()}).loss, expected)


@pytest.mark.parametrize("value", [2.0, -1.0, torch.nan])
def test_a_mask_is_zero_or_one(value):
    for argument in ("attention_mask", "candidate_mask"):
        mask = put((1, 0), value)(example("panel_picking")[argument].float())
        assert f"`{argument}` must be 0 or 1, but row 1 has [" in message("panel_picking", **{argument: mask})


def test_nothing_to_pretrain_on():
    with pytest.raises(ValueError, match="Neither `panel_embeddings` nor the inputs of any task were given"):
        build("pretraining")()


def test_errors_of_a_task_come_through_pretraining():
    inputs = example("pretraining")
    inputs["panel_picking"]["mask_position"][1] = 4
    with pytest.raises(ValueError, match="`mask_position` must be a real panel"):
        build("pretraining")(**inputs)
