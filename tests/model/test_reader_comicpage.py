"""Reader of texts at the level of tokens: against an independent reference, and what a score may depend on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from modeling_comicseq.model.reader_comicpage import MAX_OFFSET, ComicPageTextReader

SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def make_text_model(name: str = "bert", **fields) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "distilbert":
        config = DistilBertConfig(vocab_size=60, dim=16, n_layers=3, n_heads=2, hidden_dim=24, **fields)
        return DistilBertModel(config).eval()
    config_class, model_class = {
        "bert": (BertConfig, BertModel),
        "roberta": (RobertaConfig, RobertaModel),
        "electra": (ElectraConfig, ElectraModel),
    }[name]
    return model_class(config_class(**SIZES, **fields)).eval()


def make_reader(text_model, num_layers=2, std=0.5):
    reader = ComicPageTextReader(text_model, num_layers).eval()
    torch.manual_seed(1)
    for weight in (reader.offset_embeddings.weight, reader.score.weight):
        torch.nn.init.normal_(weight, std=std)  # as a new one, but of a size that shows
    return reader


def make_texts(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (len(lengths), max(lengths)), generator=generator)
    return ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def lower_states(text_model, ids, mask, num_layers=2):
    outputs = text_model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
    return outputs.hidden_states[-1 - num_layers]


def reference(reader, states, mask, context, offsets, candidate):
    """The score of one candidate: its own row with the context, every attention written out, nothing shared."""
    texts = [(states[row][mask[row]], offset) for row, offset in zip(context, offsets, strict=True) if row >= 0]
    texts.append((states[candidate][mask[candidate]], 0))
    tokens = torch.cat([text + reader.offset_embeddings.weight[offset + MAX_OFFSET] for text, offset in texts])
    number = len(tokens) - len(texts[-1][0])
    heads = reader.config.num_attention_heads
    for layer in reader.layers:
        attention = layer.attention.self
        query, key, value = (
            part(tokens).unflatten(-1, (heads, -1)).transpose(0, 1)
            for part in (attention.query, attention.key, attention.value)
        )
        scores = query @ key.mT / query.shape[-1] ** 0.5
        scores[:, :number, number:] = -torch.inf  # the context does not read the candidate
        read = (scores.softmax(-1) @ value).transpose(0, 1).flatten(-2)
        tokens = layer.output(layer.intermediate(inner := layer.attention.output(read, tokens)), inner)
    context, candidate = tokens[:number].mean(0), tokens[number:].mean(0)
    likeness = torch.dot(context, candidate) / (context.norm() * candidate.norm()) if number else 0.0
    return candidate @ reader.score.weight[0] + reader.log_scale.exp()[0] * likeness


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_scores_are_those_of_every_candidate_read_alone_with_full_attention(attention):
    text_model = make_text_model(attn_implementation=attention)
    reader = make_reader(text_model)
    ids, mask = make_texts([4, 1, 6, 3, 5, 2, 7])
    context = torch.tensor([[0, -1, 1], [2, 3, 0], [-1, -1, -1]])
    offsets = torch.tensor([[-3, -2, -1], [-2, -1, 1], [-3, -2, -1]])
    candidates = torch.tensor([[4, 5, 6, 1], [6, 4, -1, 2], [3, 4, 5, 0]])
    with torch.no_grad():
        states = lower_states(text_model, ids, mask)
        scores = reader(states, mask, context, offsets, candidates)
        for row, places in enumerate(candidates):
            for place, candidate in enumerate(places):
                if candidate < 0:
                    assert scores[row, place] == 0
                    continue
                expected = reference(reader, states, mask, context[row].tolist(), offsets[row].tolist(), candidate)
                torch.testing.assert_close(scores[row, place], expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_score_depends_neither_on_other_candidates_nor_on_padding_nor_on_other_rows(data):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=3, max_size=8))
    rows = st.integers(0, len(lengths) - 1)
    context = data.draw(st.lists(st.one_of(st.just(-1), rows), min_size=1, max_size=4))
    others = data.draw(st.lists(rows, max_size=3))
    candidate, neighbour = data.draw(rows), data.draw(rows)
    text_model = make_text_model()
    reader = make_reader(text_model)
    ids, mask = make_texts(lengths)
    with torch.no_grad():
        states = lower_states(text_model, ids, mask)
        offsets = torch.arange(-len(context), 0)[None]
        alone = reader(states, mask, torch.tensor([context]), offsets, torch.tensor([[candidate]]))
        padded = torch.cat((states, torch.full_like(states[:, :2], 1e3)), 1), torch.nn.functional.pad(mask, (0, 2))
        batch = reader(
            *padded,
            torch.tensor([[-1, *context], [neighbour, *context]]),
            torch.cat((torch.tensor([[-9]]), offsets), 1).expand(2, -1),
            torch.tensor([[candidate, *others, -1], [neighbour, *others, neighbour]]),
        )
    torch.testing.assert_close(batch[0, 0], alone[0, 0], rtol=1e-4, atol=1e-5)


def test_context_and_its_place_count():
    text_model = make_text_model()
    reader = make_reader(text_model)
    ids, mask = make_texts([4, 4, 5])
    states = lower_states(text_model, ids, mask)

    def score(context, offset):
        return reader(states, mask, torch.tensor([[context]]), torch.tensor([[offset]]), torch.tensor([[2]])).item()

    assert len({round(score(*asked), 4) for asked in [(0, -1), (1, -1), (0, -2), (0, 1), (-1, -1)]}) == 5
    none = torch.zeros(0, 1, dtype=torch.long)
    assert reader(states, mask, none, none, none.expand(0, 3)).shape == (0, 3)
    assert score(0, -MAX_OFFSET) == score(0, -MAX_OFFSET - 5)


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "distilbert"])
def test_new_layers_are_the_text_models_last(name):
    text_model = make_text_model(name)
    reader = make_reader(text_model)
    ids, mask = make_texts([5])
    with torch.no_grad():
        reader.offset_embeddings.weight.zero_()
        outputs = text_model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        # Without a context, a candidate is read as the text model reads it.
        nothing = torch.full((1, 1), -1)
        states = outputs.hidden_states[-3]
        scores = reader(states, mask, nothing, nothing, torch.zeros(1, 1, dtype=torch.long))
        expected = reader.score(outputs.last_hidden_state.mean(1))
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_weight_and_the_states_and_not_the_text_models_own_layers():
    text_model = make_text_model().requires_grad_(False)
    reader = ComicPageTextReader(text_model, 2)
    ids, mask = make_texts([4, 3, 5])
    states = lower_states(text_model, ids, mask).requires_grad_(True)
    candidates = torch.tensor([[1, 2]])
    scores = reader(states, mask, torch.tensor([[0]]), torch.tensor([[-1]]), candidates)
    torch.nn.functional.cross_entropy(scores, torch.tensor([1])).backward()
    # A key's bias moves all scores of a query alike.
    without = [name for name, weight in reader.named_parameters() if not weight.grad.any()]
    assert all("key.bias" in name for name in without)
    assert states.grad[mask].any(-1).all()
    assert all(weight.grad is None for weight in text_model.parameters())


def test_what_cannot_be_read_is_said():
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    rotary = ModernBertModel(ModernBertConfig(vocab_size=60, pad_token_id=0, **tiny))
    with pytest.raises(ValueError, match="built as BERT is"):
        ComicPageTextReader(rotary, 1)
    with pytest.raises(ValueError, match="from 1 to 3"):
        ComicPageTextReader(make_text_model(), 4)


@pytest.mark.slow
def test_order_of_words_is_learned_where_means_of_vectors_cannot_tell():
    """
    The right candidate repeats the context's last word, the wrong one its first. Of a context and the same backwards the means
    are one vector and the answers are opposite: by means, half of the answers are right.
    """
    text_model = make_text_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    reader = ComicPageTextReader(text_model, 3).train()
    generator = torch.Generator().manual_seed(0)

    def draw(count):
        words = torch.rand(count, 12, generator=generator).argsort(1)[:, :2] + 10
        words = torch.cat((words, words.flip(1)))  # each context also backwards
        texts = torch.stack((words, words[:, 1:].expand(-1, 2), words[:, :1].expand(-1, 2)), 1)
        states = text_model.embeddings(texts.flatten(0, 1))
        rows = torch.arange(len(states)).view(-1, 3)
        mask = torch.ones(states.shape[:2], dtype=torch.bool)
        return states, mask, rows[:, :1], torch.full((len(rows), 1), -1), rows[:, 1:]

    optimizer = torch.optim.Adam([*reader.parameters(), *text_model.embeddings.parameters()], lr=2e-3)
    for _ in range(200):
        scores = reader(*draw(16))
        loss = torch.nn.functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores = reader.eval()(*draw(250))
    assert (scores[:, 0] > scores[:, 1]).float().mean() > 0.8
