"""Likeness to the context against a slow reference that looks at one candidate and one panel at a time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from benchmarks.comics.ranker import FEATURES, cosine_features
from modeling_comicseq.model.heads_comicseq import ComicSeqContextSimilarity, ComicSeqInputSimilarity
from modeling_comicseq.model.modeling_comicseq import offsets_from

from ..model_inputs import build, example, tiny_config

CHOOSING = ("panel_picking", "character_coherence", "visual_closure", "text_closure")


def slowly(module, panels, candidates, shown, offsets):
    """The cosines of one row, weighted; panels (N, D), candidates (K, D), shown (N,), offsets (N,)."""
    scores = []
    for candidate in candidates:

        def cosine(vector, candidate=candidate):
            return F.cosine_similarity(module.projection(vector), module.projection(candidate), dim=0)

        real = [n for n in range(len(panels)) if shown[n]]
        before = [n for n in real if offsets[n] < 0]
        after = [n for n in real if offsets[n] > 0]
        nothing = torch.zeros(())
        features = [
            cosine(panels[real].mean(0)),
            cosine(panels[max(before, key=lambda n: offsets[n])]) if before else nothing,
            cosine(panels[min(after, key=lambda n: offsets[n])]) if after else nothing,
            max(cosine(panels[n]) for n in real),
        ]
        scores.append(sum(w * f for w, f in zip(module.weight, features, strict=True)) * module.log_scale.exp())
    return torch.cat(scores)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.booleans(), min_size=1, max_size=5).filter(any),
    st.integers(-1, 5),
    st.booleans(),
)
def test_cosines_to_mean_neighbours_and_most_alike(seed, shown, position, has_positions):
    torch.manual_seed(seed)
    module = ComicSeqContextSimilarity(tiny_config())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
        panels, candidates = torch.randn(1, len(shown), 32), torch.randn(1, 3, 32)
        shown = torch.tensor([shown]) & (torch.arange(len(shown)) != position)
        if not shown.any():
            return
        position_ids = torch.randperm(6)[None, : shown.shape[1]] - 1 if has_positions else None
        offsets = offsets_from(torch.tensor([position]), panels, position_ids)
        expected = slowly(module, panels[0], candidates[0], shown[0], offsets[0])
        assert_close(module(panels, candidates, shown, offsets)[0], expected)


def test_offsets_are_zero_where_there_is_no_place():
    panels = torch.zeros(2, 3, 4)
    position_ids = torch.tensor([[4, -1, 0], [0, 1, 2]])
    assert offsets_from(torch.tensor([2, -1]), panels, position_ids).tolist() == [[2, 0, -2], [0, 0, 0]]
    assert offsets_from(torch.tensor([2, 0]), panels, None).tolist() == [[-2, -1, 0], [0, 1, 2]]


def test_the_heads_use_it_only_with_the_similarity_term():
    for task in CHOOSING:
        for has_term in (True, False):
            head = getattr(build(task, tiny_config(similarity_term=has_term)), f"{task}_head")
            assert (head.context_similarity is not None) == has_term
        model = build(task)
        model(**example(task)).loss.backward()
        weight = getattr(model, f"{task}_head").context_similarity.weight.grad
        # In these examples only picking has panels after the asked place.
        assert (weight.abs() > 0).tolist() == [True, True, task == "panel_picking", True]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.booleans(), min_size=2, max_size=5).filter(any), st.integers(0, 4))
def test_cosines_of_what_went_in_are_those_of_the_ranker(seed, real, asked):
    torch.manual_seed(seed)
    asked %= len(real)
    real = np.array([real])
    real[0, asked] = True
    if real.sum() == 1:
        return
    panels, candidates = torch.randn(1, real.shape[1], 24), torch.randn(1, 3, 24)
    batch = {
        "panel_embeddings": panels.numpy(),
        "attention_mask": real,
        "mask_position": np.array([asked]),
        "candidate_embeddings": candidates.numpy(),
        "candidate_mask": np.ones((1, 3)),
    }
    ours = ["context mean", "nearest before", "nearest after", "first panel", "most alike panel", "least alike panel"]
    expected = torch.from_numpy(cosine_features(batch)[0]).float()[:, [FEATURES.index(name) for name in ours]]
    module = ComicSeqInputSimilarity(tiny_config())
    shown = torch.from_numpy(real) & (torch.arange(real.shape[1]) != asked)
    offsets = offsets_from(torch.tensor([asked]), panels, None)
    with torch.no_grad():
        for number in range(len(ours)):
            module.weight.zero_()[number] = 1.0
            assert_close(module(panels, candidates, shown, offsets)[0], expected[:, number])


@pytest.mark.parametrize("task", CHOOSING)
def test_cosines_of_what_went_in_reach_inputs_and_no_hidden_vector(task):
    model, question = build(task), example(task)
    bare = build(task, tiny_config(input_similarity=False))
    assert bare.load_state_dict(model.state_dict(), strict=False).unexpected_keys
    added = model(**question).logits - bare(**question).logits
    assert (added.abs() > 1e-3).any()
    # A panel that is taken out, or padding, may be anything.
    hidden = question | {"mask_position": torch.zeros(len(question["panel_embeddings"]), dtype=torch.long)}
    expected = model(**hidden).logits.detach()
    garbage = {name: hidden[name].clone() for name in ("panel_embeddings", "candidate_embeddings")}
    garbage["panel_embeddings"][:, 0] = float("nan")
    garbage["panel_embeddings"][~question["attention_mask"].bool()] = float("nan")
    garbage["candidate_embeddings"][~question["candidate_mask"].bool()] = float("nan")
    output = model(**hidden | garbage)
    assert_close(output.logits.detach(), expected)
    output.loss.backward()
    weight = getattr(model, f"{task}_head").input_similarity.weight.grad
    assert weight.isfinite().all() and weight.abs().sum() > 0


def test_a_configuration_of_before_has_no_cosines_of_what_went_in():
    assert not tiny_config().from_dict({"model_type": "comicseq"}).input_similarity
