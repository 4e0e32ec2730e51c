"""The encoder: against an independent implementation, and what its inputs and outputs mean."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from modeling_comicseq import ComicSeqConfig, ComicSeqModel
from tests.model_inputs import build, example, lengths_mask, tiny_config


def copy_attention(source: nn.Module, target: nn.MultiheadAttention) -> None:
    """Copies separate projections into PyTorch's joint one."""
    projections = source.q_proj, source.k_proj, source.v_proj
    target.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
    target.in_proj_bias.copy_(torch.cat([projection.bias for projection in projections]))
    target.out_proj.load_state_dict(source.o_proj.state_dict())


@torch.no_grad()
def torch_layers(model: ComicSeqModel) -> nn.TransformerEncoder:
    """PyTorch's own pre-norm transformer with the layers' weights."""
    config = model.config
    layer = nn.TransformerEncoderLayer(
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=config.layer_norm_eps,
        batch_first=True,
        norm_first=True,
    )
    norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
    encoder = nn.TransformerEncoder(layer, config.num_hidden_layers, norm=norm, enable_nested_tensor=False)
    for source, target in zip(model.layers, encoder.layers, strict=True):
        copy_attention(source.attention, target.self_attn)
        target.linear1.load_state_dict(source.mlp.fc1.state_dict())
        target.linear2.load_state_dict(source.mlp.fc2.state_dict())
        target.norm1.load_state_dict(source.layernorm_before.state_dict())
        target.norm2.load_state_dict(source.layernorm_after.state_dict())
    encoder.norm.load_state_dict(model.layernorm.state_dict())
    return encoder.eval()


@torch.no_grad()
def torch_pooling(model: ComicSeqModel) -> nn.MultiheadAttention:
    pooling = nn.MultiheadAttention(model.config.hidden_size, model.config.num_attention_heads, batch_first=True)
    copy_attention(model.pooler, pooling)
    return pooling.eval()


def sinusoids(num_positions: int, width: int, base: float) -> torch.Tensor:
    """The table of Vaswani et al. (2017), entry by entry."""
    table = torch.zeros(num_positions, width)
    for position in range(num_positions):
        for dimension in range(width):
            angle = position / base ** (2 * (dimension // 2) / width)
            table[position, dimension] = math.cos(angle) if dimension % 2 else math.sin(angle)
    return table


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_equals_pytorch_transformer(attention):
    """At `input_scale=1` and equal widths the encoder is PyTorch's transformer on panels plus sinusoids."""
    config = tiny_config(panel_embedding_dim=32, input_scale=1.0)
    model = build("encoder", config, attention)
    inputs = example("encoder", config)
    panels, padded = inputs["panel_embeddings"], inputs["attention_mask"] == 0

    with torch.no_grad():
        outputs = model(**inputs)
        tokens = panels + sinusoids(panels.shape[1], config.hidden_size, config.position_base)
        states = torch_layers(model)(tokens, src_key_padding_mask=padded)
        query = model.pooler.strip_query.expand(len(panels), -1, -1)
        strips, weights = torch_pooling(model)(
            query, states, states, key_padding_mask=padded, average_attn_weights=False
        )
        attentions = model(**inputs, output_attentions=True).cross_attentions if attention == "eager" else (weights,)

    assert_close(outputs.last_hidden_state[~padded], states[~padded])
    assert_close(outputs.pooler_output, strips[:, 0])
    assert_close(attentions[0], weights)


def test_joint_candidates_equal_pytorch_transformer():
    """The whole of panel picking up to the head, from the formulas: scale, projection, position, mask of each token."""
    model = build("panel_picking").comicseq
    inputs = example("panel_picking")
    panels, candidates = inputs["panel_embeddings"], inputs["candidate_embeddings"]
    real, asked, offered = inputs["attention_mask"].bool(), inputs["mask_position"], inputs["candidate_mask"].bool()
    num_panels, num_choices = panels.shape[1], candidates.shape[1]
    project, table = model.embeddings.panel_projection.projection, sinusoids(12, 32, 10)

    def token(vector):
        return project(vector / vector.pow(2).mean().sqrt())

    with torch.no_grad():
        for row in range(len(panels)):
            tokens = [token(panel) + table[slot] for slot, panel in enumerate(panels[row])]
            tokens[asked[row]] = model.embeddings.mask_embedding + table[asked[row]]
            tokens += [token(candidate) + table[asked[row]] for candidate in candidates[row]]
            forbidden = torch.ones(len(tokens), len(tokens), dtype=torch.bool)
            for query in range(len(tokens)):
                forbidden[query, query] = False
                forbidden[query, :num_panels] &= ~real[row]
            states = torch_layers(model)(torch.stack(tokens)[None], mask=forbidden)[0]
            outputs = model(
                panels[[row]],
                real[[row]],
                mask_position=asked[[row]],
                candidate_embeddings=candidates[[row]],
                candidate_mask=offered[[row]],
                candidate_position=asked[[row]],
            )
            assert_close(outputs.last_hidden_state[0, real[row]], states[:num_panels][real[row]])
            ours, theirs = outputs.candidate_hidden_state[0], states[num_panels : num_panels + num_choices]
            assert_close(ours[offered[row]], theirs[offered[row]])


def test_default_model():
    model = ComicSeqModel(ComicSeqConfig()).eval()
    assert model.embeddings.panel_projection.projection is None, "P equals the hidden size: nothing to project"
    with torch.no_grad():
        outputs = model(torch.randn(2, 16, 512))
    assert outputs.last_hidden_state.shape == (2, 16, 512)
    assert outputs.pooler_output.shape == (2, 512)
    assert outputs.contextualized_panels is outputs.last_hidden_state
    assert outputs.strip_embedding is outputs.pooler_output
    assert outputs.to_tuple()[0] is outputs.last_hidden_state
    with pytest.raises(AttributeError):
        outputs.strip_embedding = None


def test_default_model_outputs_are_not_dominated_by_positions():
    """Stage 3 vectors of norm 1 and sinusoids of norm 16: the default scale brings both to one magnitude."""
    model = ComicSeqModel(ComicSeqConfig(num_hidden_layers=1)).eval()
    panels = nn.functional.normalize(torch.randn(4, 8, 512), dim=-1)
    with torch.no_grad():
        tokens = model.embed(panels).tokens - model.embeddings.position_embeddings[:8]
    assert_close(tokens.norm(dim=-1), torch.full((4, 8), 512**0.5), atol=1e-3, rtol=0)
    assert_close(model.embeddings.position_embeddings[:8].norm(dim=-1), torch.full((8,), 16.0))


@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_default_scale_takes_vectors_of_any_norm(factor):
    model, inputs = build("encoder"), example("encoder")
    with torch.no_grad():
        expected = model(**inputs).pooler_output
        scaled = model(inputs["panel_embeddings"] * factor, inputs["attention_mask"]).pooler_output
    assert_close(scaled, expected)


def test_a_vector_of_zeros_is_finite():
    model = build("encoder").train()
    outputs = model(torch.zeros(1, 3, 24))
    outputs.pooler_output.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_float16_vectors_are_read():
    """Vectors are stored in half precision; the model's own precision decides."""
    model, inputs = build("encoder"), example("encoder")
    halves = inputs["panel_embeddings"].half()
    with torch.no_grad():
        outputs = model(halves, inputs["attention_mask"])
        expected = model(halves.float(), inputs["attention_mask"])
    assert outputs.pooler_output.dtype == torch.float32
    assert torch.equal(outputs.pooler_output, expected.pooler_output)


def test_encode_strip():
    model, inputs = build("encoder"), example("encoder")
    with torch.no_grad():
        strips = model.encode_strip(inputs["panel_embeddings"], inputs["attention_mask"].bool())
        assert torch.equal(strips, model(**inputs).pooler_output)


def test_order_matters_only_through_positions():
    model = build("encoder")
    panels, order = torch.randn(2, 5, 24), torch.tensor([3, 0, 4, 1, 2])
    nowhere = torch.full((2, 5), -1)
    with torch.no_grad():
        plain, shuffled = model(panels), model(panels[:, order])
        assert (plain.pooler_output - shuffled.pooler_output).abs().max() > 1e-3
        moved = model(panels[:, order], position_ids=order.expand(2, -1))
        assert_close(moved.last_hidden_state, plain.last_hidden_state[:, order])
        without = model(panels, position_ids=nowhere)
        moved = model(panels[:, order], position_ids=nowhere)
    assert_close(moved.last_hidden_state, without.last_hidden_state[:, order])
    assert_close(moved.pooler_output, without.pooler_output)


def test_no_position_adds_nothing():
    model = build("encoder")
    panels = torch.randn(1, 3, 24)
    with torch.no_grad():
        some = model.embed(panels, position_ids=torch.tensor([[4, -1, 0]])).tokens
        none = model.embed(panels, position_ids=torch.full((1, 3), -1)).tokens
    table = model.embeddings.position_embeddings
    assert_close(some - none, torch.stack((table[4], torch.zeros(32), table[0]))[None])


def test_asked_panel_is_its_picture_and_the_mask():
    model, inputs = build("encoder"), example("text_cloze")
    asked, visual = inputs["mask_position"], inputs["visual_embedding"]
    with torch.no_grad():
        bare = model.embed(inputs["panel_embeddings"], mask_position=asked).tokens
        shown = model.embed(inputs["panel_embeddings"], mask_position=asked, visual_embedding=visual).tokens
        picture = model.embeddings.visual_projection(visual, torch.float32)
    difference = torch.zeros_like(bare)
    difference[torch.arange(3), asked] = picture
    assert_close(shown - bare, difference)


@pytest.mark.parametrize("name", ["encoder", "panel_picking", "pretraining"])
def test_hidden_states_and_attentions(name):
    model, inputs = build(name, attention="eager"), example(name)
    with torch.no_grad():
        outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
    num_rows, num_tokens = {"encoder": (3, 5), "panel_picking": (3, 9), "pretraining": (24, 9)}[name]
    *states, last_state = outputs.hidden_states
    assert [state.shape for state in states] == [(num_rows, num_tokens, 32)] * 2
    # As everywhere in transformers, the last one is the `last_hidden_state`, which is of the panels.
    assert last_state.shape == ((3, 5, 32) if name == "panel_picking" else (num_rows, num_tokens, 32))
    assert [weights.shape for weights in outputs.attentions] == [(num_rows, 4, num_tokens, num_tokens)] * 2
    for weights in outputs.attentions:
        assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    if name == "panel_picking":
        assert "cross_attentions" not in outputs  # no task reads the strip vector
        return
    (strip_weights,) = outputs.cross_attentions
    assert strip_weights.shape == (3, 4, 1, 5)
    assert_close(strip_weights.sum(-1), torch.ones(3, 4, 1))
    padded = (inputs["attention_mask"] == 0)[:, None, None].expand_as(strip_weights)
    assert (strip_weights[padded] == 0).all() and (strip_weights[~padded] > 0).all()
    if name == "encoder":
        assert torch.equal(outputs.hidden_states[-1], outputs.last_hidden_state)
        panel_weights = outputs.attentions[0]
        assert (panel_weights[padded.expand_as(panel_weights)] == 0).all()


def test_attentions_of_candidates():
    """Candidates read the real panels and themselves; nothing reads a candidate."""
    model, inputs = build("panel_picking", attention="eager"), example("panel_picking")
    with torch.no_grad():
        attentions = model(**inputs, output_attentions=True).attentions
    real = inputs["attention_mask"].bool()
    allowed = torch.eye(9, dtype=torch.bool).repeat(3, 1, 1)
    allowed[:, :, :5] |= real[:, None]
    for weights in attentions:
        assert torch.equal(weights > 0, allowed[:, None].expand_as(weights))


def test_right_and_left_padding_agree_at_equal_positions():
    model = build("encoder")
    panels, positions = torch.randn(1, 3, 24), torch.arange(3)[None]
    garbage = torch.randn(1, 2, 24)
    with torch.no_grad():
        expected = model(panels).pooler_output
        left = model(
            torch.cat((garbage, panels), 1),
            torch.tensor([[0, 0, 1, 1, 1]]),
            torch.cat((torch.full((1, 2), 99), positions), 1),
        )
        right = model(torch.cat((panels, garbage), 1), lengths_mask([3], 5))
    assert_close(left.pooler_output, expected)
    assert_close(right.pooler_output, expected)


def test_number_of_parameters():
    """6 layers of 512 with 2048 in the feed-forward: what a user expects of the default encoder."""
    model = ComicSeqModel(ComicSeqConfig())
    assert sum(p.numel() for p in model.layers.parameters()) == 6 * (4 * (512**2 + 512) + 2 * 512 * 2048 + 2560 + 2048)
