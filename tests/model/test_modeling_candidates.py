"""Joint candidates: encoded in one pass with the panels, which do not see them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.model_inputs import TASKS, boxed_config, build, example, tiny_config

ATTENTIONS = ["eager", "sdpa", "flex_attention"]
CHOOSING = [task for task in TASKS if task != "reading_order"]
OFFERED = ("candidate_embeddings", "candidate_text_embeddings", "candidate_mask")


@pytest.fixture(autouse=True)
def uncompiled_flex_attention():
    """Flex attention is PyTorch's own reference here: compiling its kernel takes a minute for every shape."""
    with torch.compiler.set_stance("force_eager"):
        yield


def asked_of_encoder(task, **inputs):
    return TASKS[task].encoder_inputs(tiny_config(), TASKS[task].complete(inputs))


def scores(model, inputs, **kwargs):
    with torch.no_grad():
        return model(**{name: value for name, value in inputs.items() if name != "labels"}, **kwargs).logits


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_context_does_not_see_candidates(attention):
    model = build("encoder", boxed_config(), attention)
    inputs = example("panel_picking", model.config)
    del inputs["labels"]
    with torch.no_grad():
        joint = model(**inputs, candidate_position=inputs["mask_position"])
        alone = model(**{name: value for name, value in inputs.items() if name not in OFFERED})
    real = inputs["attention_mask"].bool()
    assert joint.candidate_hidden_state.shape == (3, 4, 32) and alone.candidate_hidden_state is None
    assert_close(joint.last_hidden_state[real], alone.last_hidden_state[real])
    assert_close(joint.pooler_output, alone.pooler_output)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("task", CHOOSING)
def test_one_pass_equals_a_pass_for_each_candidate(task, attention):
    model, inputs = build(task, boxed_config(), attention), example(task, boxed_config())
    together = scores(model, inputs)
    for choice in range(together.shape[1]):
        rows = inputs["candidate_mask"][:, choice] == 1
        single = {
            name: value[rows][:, [choice]] if name in OFFERED else value[rows]
            for name, value in inputs.items()
            if name != "labels"
        }
        assert_close(scores(model, single)[:, 0], together[rows, choice])


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_permuting_candidates_permutes_scores(attention):
    for task in CHOOSING:
        model, inputs = build(task, attention=attention), example(task)
        order = torch.tensor([2, 0, 3, 1])
        permuted = {name: value[:, order] if name in OFFERED else value for name, value in inputs.items()}
        assert_close(scores(model, permuted), scores(model, inputs)[:, order])


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_permuting_panels_permutes_the_order_matrix(attention):
    model, inputs = build("reading_order", boxed_config(), attention), example("reading_order", boxed_config())
    order = torch.tensor([4, 2, 0, 1, 3])
    permuted = {name: inputs[name][:, order] for name in ("panel_embeddings", "attention_mask", "panel_boxes")}
    expected = scores(model, inputs)[:, order][:, :, order]
    real = permuted["attention_mask"].bool()
    pairs = real[:, :, None] & real[:, None]
    assert_close(scores(model, permuted)[pairs], expected[pairs])


@pytest.mark.parametrize("attention", ["sdpa", "flex_attention"])
def test_attention_implementations_agree(attention):
    for task in TASKS:
        inputs = example(task, boxed_config())
        expected = scores(build(task, boxed_config(), "eager"), inputs)
        actual = scores(build(task, boxed_config(), attention), inputs)
        counted = expected > torch.finfo(expected.dtype).min
        if task == "reading_order":
            real = inputs["attention_mask"].bool()
            counted = real[:, :, None] & real[:, None]
        assert_close(actual[counted], expected[counted])


def test_candidates_read_the_context():
    """What makes "joint" worth its name: a change of the context changes the candidates' states."""
    model, inputs = build("encoder"), example("panel_picking")
    del inputs["labels"]
    with torch.no_grad():
        states = model(**inputs).candidate_hidden_state
        inputs["panel_embeddings"] = -inputs["panel_embeddings"]
        changed = model(**inputs).candidate_hidden_state
        alone = model(**inputs, candidates_read_context=False).candidate_hidden_state
        single = model(inputs["candidate_embeddings"][:, :1], position_ids=torch.full((3, 1), -1)).last_hidden_state
    assert ((changed - states).abs().amax(-1)[inputs["candidate_mask"] == 1] > 1e-3).all()
    assert_close(alone[:, :1], single)


def test_candidates_stand_at_the_asked_position():
    model, inputs = build("encoder"), example("panel_picking")
    panels, candidates = inputs["panel_embeddings"], inputs["candidate_embeddings"]
    with torch.no_grad():
        there = model.embed(panels, candidate_embeddings=candidates, candidate_position=torch.tensor([3, 0, -1]))
        nowhere = model.embed(panels, candidate_embeddings=candidates)
    table = model.embeddings.position_embeddings
    expected = torch.stack((table[3], table[0], torch.zeros(32)))[:, None].expand(3, 4, 32)
    assert_close((there.tokens - nowhere.tokens)[:, 5:], expected)


def test_coherence_asks_for_the_position_that_is_given():
    inputs = example("character_coherence") | {"candidate_position": torch.tensor([1, 0, -1])}
    inputs.pop("labels")
    asked = asked_of_encoder("character_coherence", **inputs)
    assert torch.equal(asked["candidate_position"], torch.tensor([1, 0, -1]))
    model = build("character_coherence")
    with torch.no_grad():
        there, after = (model(**given).logits for given in (inputs, inputs | {"candidate_position": None}))
    assert not torch.allclose(there, after)


@pytest.mark.parametrize("task", ["character_coherence", "visual_closure", "text_closure"])
def test_closure_and_coherence_ask_for_the_position_after_the_last_panel(task):
    inputs = example(task)
    shifted = torch.arange(5) + 3
    real = inputs["attention_mask"].bool()
    positions = {
        "from the start": (None, torch.tensor([5, 4, 3])),
        "from the third": (shifted.expand(3, -1), torch.tensor([8, 7, 6])),
        "none": (torch.full((3, 5), -1), torch.tensor([-1, -1, -1])),
    }
    for position_ids, expected in positions.values():
        asked = asked_of_encoder(task, **(inputs | {"attention_mask": real, "position_ids": position_ids}))
        assert torch.equal(asked["candidate_position"], expected)


def test_a_page_may_fill_every_position_but_not_in_closure():
    config = tiny_config(max_position_embeddings=5)
    for task in ("panel_picking", "character_coherence", "text_cloze"):
        assert scores(build(task, config), example(task, config)).isfinite().all()
    with pytest.raises(ValueError, match="max_position_embeddings"):
        scores(build("visual_closure", config), example("visual_closure", config))
    # Only the page without a free position (the first of three) has candidates without a place.
    coherence, inputs = build("character_coherence", config), example("character_coherence", config)
    explicit = scores(coherence, inputs | {"candidate_position": torch.tensor([-1, 4, 3])})
    assert torch.equal(scores(coherence, inputs), explicit)
    pretraining = build("pretraining", config)
    assert pretraining(character_coherence=inputs).task_logits["character_coherence"].isfinite().all()


@pytest.mark.parametrize("task", CHOOSING)
def test_independent_candidates_are_projections(task):
    """`candidate_encoding="independent"`: the scores are the head's on states that the encoder has not read."""
    model = build(task, tiny_config(candidate_encoding="independent"))
    inputs = example(task)
    modality = "text" if task == "text_cloze" else "panel"
    offered = inputs["candidate_text_embeddings" if task == "text_cloze" else "candidate_embeddings"]
    del inputs["labels"]
    with torch.no_grad():
        outputs = model.comicseq(**asked_of_encoder(task, **inputs))
        mask = inputs["candidate_mask"].bool()
        assert torch.equal(outputs.candidate_hidden_state, model.comicseq.embeddings.project(offered, mask, modality))
        hidden_states = model(**inputs, output_hidden_states=True).hidden_states
    assert hidden_states[0].shape[1] == (1 if task == "caption_relevance" else 5)
    assert (scores(model, inputs)[~mask] == torch.finfo(torch.float32).min).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 3), st.sampled_from(sorted(TASKS)))
def test_padding_changes_nothing(seed, more_panels, more_candidates, task):
    """Longer padding, whatever stands in it, leaves loss and scores where they were."""
    generator = torch.Generator().manual_seed(seed)
    model, inputs = build(task), example(task, seed=seed)
    extra = {
        "panel_embeddings": more_panels,
        "attention_mask": more_panels,
        "text_embeddings": more_panels,
        "candidate_embeddings": more_candidates,
        "candidate_text_embeddings": more_candidates,
        "candidate_mask": more_candidates,
    }
    padded = {}
    for name, value in inputs.items():
        if name in extra and extra[name]:
            filling = torch.randn(len(value), extra[name], *value.shape[2:], generator=generator) * 100
            filling = torch.zeros_like(filling) if name.endswith("mask") else filling
            value = torch.cat((value, filling.to(value.dtype)), dim=1)
        elif name == "labels" and task == "reading_order":
            value = torch.nn.functional.pad(value, (0, more_panels, 0, more_panels), value=-100)
        elif name == "labels" and task == "character_coherence":
            value = torch.nn.functional.pad(value, (0, more_candidates), value=-100)
        padded[name] = value
    with torch.no_grad():
        expected, actual = model(**inputs), model(**padded)
    assert_close(actual.loss, expected.loss)
    corner = tuple(slice(size) for size in expected.logits.shape)
    if task == "reading_order":
        real = inputs["attention_mask"].bool()
        counted = real[:, :, None] & real[:, None]
        assert_close(actual.logits[corner][counted], expected.logits[counted])
    else:
        assert_close(actual.logits[corner], expected.logits)


@pytest.fixture
def fake_flash(monkeypatch):
    """Stands in for a flash kernel: full attention under a plain padding mask `(B, N)`, all that such a kernel takes."""

    def attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
        assert attention_mask is None or attention_mask.dim() == 2, "a flash kernel ignores other masks"
        scores = query @ key.transpose(2, 3) * scaling
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask.bool()[:, None, None], -1e30)
        return (scores.softmax(-1) @ value).transpose(1, 2), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", attention)


@pytest.mark.parametrize("name", ["encoder", "reading_order"])
def test_flash_encodes_panels(name, fake_flash):
    """Without candidates a padding mask says all, so that flash attention serves."""
    model, inputs = build(name), example(name)
    with torch.no_grad():
        expected = model(**inputs)
        model.config._attn_implementation = "flash_attention_2"
        actual = model(**inputs)
    if name == "reading_order":
        assert_close(actual.loss, expected.loss)
    else:
        assert_close(actual.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("task", CHOOSING)
def test_flash_refuses_joint_candidates(task):
    """A flash kernel would silently drop the candidates' mask."""
    model = build(task)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match='\'flash_attention_2\', which cannot mask .* "sdpa" or "flex_attention"'):
        scores(model, example(task))


def test_flash_refuses_pretraining_with_joint_candidates():
    model = build("pretraining")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="sdpa.*flex_attention"):
        model(**example("pretraining"))


@pytest.mark.parametrize("name", ["panel_picking", "pretraining"])
def test_flash_serves_independent_candidates(name, fake_flash):
    """As its refusal says: with independent candidates all views, of any length, need no more than a padding mask."""
    model, inputs = build(name, tiny_config(candidate_encoding="independent")), example(name)
    with torch.no_grad():
        expected = model(**inputs).loss
        model.config._attn_implementation = "flash_attention_2"
        actual = model(**inputs).loss
    assert_close(actual, expected)
