"""Separate streams: a panel's picture and text are two tokens at one position."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining, ComicSeqModel
from tests.model.test_remote_code import run_without_package
from tests.model_inputs import CLASSES, TASKS, build, example, tiny_config, unread_slots

ATTENTIONS = ["eager", "sdpa", "flex_attention"]
V, T = 16, 20  # widths of a picture and of a text


@pytest.fixture(autouse=True)
def uncompiled_flex_attention():
    with torch.compiler.set_stance("force_eager"):
        yield


def streams_config(**changes) -> ComicSeqConfig:
    return tiny_config(**{"streams": "separate", "panel_embedding_dim": V + T, **changes})


def with_gaps(vectors: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Panel vectors of which some lack the picture, some the text, and some both."""
    has = torch.rand(*vectors.shape[:2], 2, generator=torch.Generator().manual_seed(seed)) < 0.6
    return vectors * has.repeat_interleave(torch.tensor([V, T]), dim=-1)


def gappy_example(name: str, config: ComicSeqConfig) -> dict:
    """As `example`, with panels and candidates that lack picture, text or both."""
    return {
        key: gappy_example(key, config) | value if isinstance(value, dict) else value
        for key, value in example(name, config).items()
    } | {
        key: with_gaps(value)
        for key, value in example(name, config).items()
        if key in ("panel_embeddings", "candidate_embeddings") and value.shape[-1] == V + T
    }


def reference_states(
    model: ComicSeqModel, panels: list[list[torch.Tensor]], candidate: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The states of panels (N, D) and of a candidate (D,), each given as its tokens: a plain transformer, in which panels read
    all panels and the candidate them and itself; after the layers, the mean of each one's tokens.
    """
    context, own = torch.stack([token for panel in panels for token in panel]), torch.stack(candidate)
    heads = model.config.num_attention_heads

    def attend(attention, reading, read):
        q, k, v = (
            project(states).view(len(states), heads, -1).transpose(0, 1)
            for project, states in ((attention.q_proj, reading), (attention.k_proj, read), (attention.v_proj, read))
        )
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        return attention.o_proj((weights @ v).transpose(0, 1).flatten(1))

    for layer in model.layers:
        seen, mine = layer.layernorm_before(context), layer.layernorm_before(own)
        context = context + attend(layer.attention, seen, seen)
        own = own + attend(layer.attention, mine, torch.cat((seen, mine)))
        context, own = (states + layer.mlp(layer.layernorm_after(states)) for states in (context, own))
    merged = [each.mean(0) for each in model.layernorm(context).split([len(panel) for panel in panels])]
    return torch.stack(merged), model.layernorm(own).mean(0)


def reference_tokens(model: ComicSeqModel, vector: torch.Tensor, position: int) -> list[torch.Tensor]:
    """One token for each half that is there, a picture of zeros for neither."""
    embeddings, tokens = model.embeddings, []
    visual, text = vector[:V], vector[V:]
    halves = [(half, side) for half, side in ((visual, "visual"), (text, "text")) if half.any()] or [
        (visual, "visual")
    ]
    for half, side in halves:
        module = getattr(embeddings, f"{side}_projection")
        scaled = half / half.pow(2).mean().sqrt().clamp(min=1e-6)
        tokens.append(module.projection(scaled) + module.type_embedding + embeddings.position_embeddings[position])
    return tokens


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_states_are_those_of_a_plain_transformer_over_the_tokens_that_there_are(attention):
    model = build("encoder", streams_config(), attention)
    inputs = gappy_example("panel_picking", model.config)
    picture = torch.randn(3, V, generator=torch.Generator().manual_seed(3))
    del inputs["labels"]
    with torch.no_grad():
        outputs = model(**inputs, visual_embedding=picture, candidate_position=inputs["mask_position"])
        for row in range(3):
            asked, panels = int(inputs["mask_position"][row]), []
            for slot in range(int(inputs["attention_mask"][row].sum())):
                panels.append(reference_tokens(model, inputs["panel_embeddings"][row, slot], slot))
            given = reference_tokens(model, torch.cat((picture[row], torch.zeros(T))), asked)[0]
            panels[asked] = [given + model.embeddings.mask_embedding]
            for choice in range(int(inputs["candidate_mask"][row].sum())):
                candidate = reference_tokens(model, inputs["candidate_embeddings"][row, choice], asked)
                states, state = reference_states(model, panels, candidate)
                assert_close(outputs.last_hidden_state[row, : len(panels)], states)
                assert_close(outputs.candidate_hidden_state[row, choice], state)


@pytest.mark.parametrize("side", ["visual", "text"])
@pytest.mark.parametrize("task", ["panel_picking", "visual_closure", "character_coherence"])
def test_panels_with_one_half_are_what_vectors_of_that_modality_are(task, side):
    model, inputs = build("encoder", streams_config()), example(task, streams_config())
    place = slice(0, V) if side == "visual" else slice(V, V + T)
    names = [name for name in ("panel_embeddings", "candidate_embeddings") if name in inputs]
    halves = {name: torch.zeros_like(inputs[name]) for name in names}
    for name in names:
        halves[name][..., place] = inputs[name][..., place]
    others = {name: inputs[name] for name in ("attention_mask", "candidate_mask", "mask_position") if name in inputs}
    alone = {name: inputs[name][..., place] for name in names}
    with torch.no_grad():
        wide = model(**halves, **others)
        single = model(**alone, **others, modality=side, candidate_modality=side)
    real, offered = inputs["attention_mask"].bool(), inputs["candidate_mask"].bool()
    assert_close(wide.last_hidden_state[real], single.last_hidden_state[real])
    assert_close(wide.candidate_hidden_state[offered], single.candidate_hidden_state[offered])
    assert_close(wide.pooler_output, single.pooler_output)


@pytest.mark.parametrize("encoding", ["joint", "independent"])
def test_a_step_of_pretraining_is_that_of_the_single_classes(encoding):
    """Packed rows give what rows with padding give, in all tasks at once."""
    config = streams_config(candidate_encoding=encoding, masked_panel_weight=0.5)
    model, inputs = build("pretraining", config), gappy_example("pretraining", config)
    masked = torch.zeros(3, 5, dtype=torch.bool)
    masked[:, 1] = True
    targets = with_gaps(torch.randn(1, 3, V + T, generator=torch.Generator().manual_seed(5)))[0]
    inputs["masked_panels"] = {
        **{name: inputs[name] for name in ("panel_embeddings", "attention_mask")},
        **{"masked_panels": masked, "target_embeddings": targets, "labels": torch.arange(3)},
    }
    with torch.no_grad():
        outputs = model(**inputs)
        alone = model(**{name: inputs[name] for name in ("panel_embeddings", "attention_mask")})
        assert_close(outputs.pooler_output, alone.pooler_output)
        assert outputs.padding_share < 0.5 and outputs.loss.isfinite()
        for name in TASKS:
            single = CLASSES[name]._from_config(config, attn_implementation="eager").eval()
            single.load_state_dict(model.state_dict(), strict=False)
            expected = single(**inputs[name]).logits
            assert_close(outputs.task_logits[name], expected)
        pages = model.comicseq(**{name: inputs[name] for name in ("panel_embeddings", "attention_mask")})
        assert_close(outputs.pooler_output, pages.pooler_output)


@pytest.mark.parametrize("name", CLASSES)
def test_slots_that_must_not_be_read_have_no_effect_on_outputs_and_gradients(name):
    config = streams_config()
    model, inputs = build(name, config), gappy_example(name, config)

    def spoil(inputs):
        spoilt = {key: spoil(value) if isinstance(value, dict) else value for key, value in inputs.items()}
        for key, slots in unread_slots(inputs).items():
            spoilt[key] = inputs[key].masked_fill(slots[..., None], torch.nan)
        return spoilt

    def run(given):
        model.zero_grad()
        outputs = model(**given)
        score = outputs.pooler_output.square().sum() if name == "encoder" else outputs.loss
        score.backward()
        return score.detach(), {key: each.grad for key, each in model.named_parameters() if each.grad is not None}

    (score, gradients), (spoilt_score, spoilt_gradients) = run(inputs), run(spoil(inputs))
    assert torch.equal(score, spoilt_score) and gradients.keys() == spoilt_gradients.keys()
    assert all(torch.equal(gradients[key], spoilt_gradients[key]) for key in gradients)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_order_of_candidates_and_length_of_padding_change_nothing(data):
    task = data.draw(st.sampled_from(["panel_picking", "character_coherence", "caption_relevance"]))
    attention = data.draw(st.sampled_from(["eager", "sdpa"]))
    model, inputs = build(task, streams_config(), attention), gappy_example(task, streams_config())
    del inputs["labels"]
    order = torch.tensor(data.draw(st.permutations(range(4))))
    more = data.draw(st.integers(0, 3))
    changed = dict(inputs)
    for name in ("candidate_embeddings", "candidate_mask"):
        changed[name] = inputs[name][:, order]
    if "panel_embeddings" in inputs:
        changed["panel_embeddings"] = nn.functional.pad(inputs["panel_embeddings"], (0, 0, 0, more), value=7.0)
        changed["attention_mask"] = nn.functional.pad(inputs["attention_mask"], (0, more))
    with torch.no_grad():
        assert_close(model(**changed).logits, model(**inputs).logits[:, order])


def test_both_tokens_of_a_panel_stand_in_its_box():
    config = streams_config(box_embedding=True)
    model, inputs = build("encoder", config), gappy_example("encoder", config)
    moved = inputs | {"panel_boxes": inputs["panel_boxes"].flip(1)}
    tokens, elsewhere = model.embed(**inputs).tokens, model.embed(**moved).tokens
    changed = (tokens != elsewhere).any(-1).unflatten(1, (-1, 2))
    assert torch.equal(changed.all(-1), changed.any(-1)) and changed.any()
    outputs = model(panel_boxes=inputs["panel_boxes"], attention_mask=inputs["attention_mask"])
    assert outputs.last_hidden_state.shape == (3, 5, 32)  # known by their boxes alone: one token each


def test_flash_attention_is_refused_for_candidates(monkeypatch):
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", None)
    model, inputs = build("panel_picking", streams_config()), example("panel_picking", streams_config())
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(ValueError, match="cannot mask candidates from each"):
        model(**inputs)


def test_fused_weights_can_be_read_in_separate_streams(tmp_path):
    """Both have the projections of pictures and texts; only that of fused panels stays behind."""
    build("pretraining").save_pretrained(tmp_path)
    model, info = ComicSeqForPreTraining.from_pretrained(tmp_path, config=streams_config(), output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    assert not hasattr(model.comicseq.embeddings, "panel_projection")
    assert model.get_input_embeddings() is model.comicseq.embeddings.visual_projection


@pytest.mark.slow
def test_checkpoint_loads_without_the_package(tmp_path):
    model = build("panel_picking", streams_config())
    inputs = gappy_example("panel_picking", model.config)
    model.save_pretrained(tmp_path / "model")
    with torch.no_grad():
        torch.save((inputs, model(**inputs).logits), tmp_path / "expected.pt")
    run_without_package(
        """
        inputs, expected = torch.load(f"{folder}/expected.pt")
        model = AutoModelForMultipleChoice.from_pretrained(f"{folder}/model", trust_remote_code=True)
        torch.testing.assert_close(numbers(model, inputs)["logits"], expected)
        """,
        tmp_path,
    )


@pytest.mark.parametrize(
    ("fields", "widths"),
    [
        ({}, (512, 256, 256, 256)),
        ({"panel_embedding_dim": 30, "visual_embedding_dim": 12}, (30, 12, 18, 18)),
        ({"panel_embedding_dim": 30, "text_embedding_dim": 12, "caption_embedding_dim": 5}, (30, 18, 12, 5)),
    ],
)
def test_widths_that_are_not_given_share_out_the_panels(fields, widths):
    config = ComicSeqConfig(streams="separate", **fields)
    modalities = ("panel", "visual", "text", "caption")
    assert tuple(getattr(config, f"{modality}_embedding_dim") for modality in modalities) == widths
    assert ComicSeqConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"streams": "both"}, "one of fused, separate"),
        (
            {"streams": "separate", "panel_embedding_dim": 8, "visual_embedding_dim": 8, "text_embedding_dim": 8},
            r"`panel_embedding_dim` is 8 but must be `visual_embedding_dim` \+ `text_embedding_dim`, 8 \+ 8",
        ),
        ({"streams": "separate", "panel_embedding_dim": 8, "visual_embedding_dim": 9}, "`text_embedding_dim` is -1"),
    ],
)
def test_impossible_streams_are_refused(fields, said):
    with pytest.raises(Exception, match=said):
        ComicSeqConfig(**fields)
