"""Likeness to the context against a slow reference that looks at one candidate and one panel at a time."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from modeling_comicseq.model.heads_comicseq import ComicSeqContextSimilarity
from modeling_comicseq.model.modeling_comicseq import offsets_from

from ..model_inputs import build, example, tiny_config


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
    for task in ("panel_picking", "character_coherence", "visual_closure", "text_closure"):
        for has_term in (True, False):
            head = getattr(build(task, tiny_config(similarity_term=has_term)), f"{task}_head")
            assert (head.context_similarity is not None) == has_term
        model = build(task)
        model(**example(task)).loss.backward()
        weight = getattr(model, f"{task}_head").context_similarity.weight.grad
        # In these examples only picking has panels after the asked place.
        assert (weight.abs() > 0).tolist() == [True, True, task == "panel_picking", True]
