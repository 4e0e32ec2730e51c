"""Pretraining: the weighted sum of the tasks' losses and the contrastive objectives."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from modeling_comicseq.modeling_comicseq import (
    beam_order,
    best_orders,
    cohesion_loss,
    first_fit,
    nt_xent_loss,
    views_loss,
)
from tests.model_inputs import TASKS, build, example, tiny_config


def test_loss_is_the_weighted_mean_of_the_classes_losses():
    model = build("pretraining", tiny_config(reading_order_weight=0.3, contrastive_weight=0.5))
    inputs = example("pretraining")
    with torch.no_grad():
        outputs = model(**inputs)
        total = 0.0
        for task, task_class in TASKS.items():
            single = task_class(model.config).eval()
            missing = single.load_state_dict(model.state_dict(), strict=False).missing_keys
            assert not missing
            alone = single(**inputs[task])
            assert_close(outputs.task_losses[task].mean(), alone.loss, atol=1e-5, rtol=0)
            if task == "reading_order":
                real = inputs[task]["attention_mask"].bool()
                counted = real[:, :, None] & real[:, None]
                assert_close(outputs.task_logits[task][counted], alone.logits[counted], atol=1e-5, rtol=1e-5)
            else:
                assert_close(outputs.task_logits[task], alone.logits, atol=1e-5, rtol=1e-5)
            total += (0.3 if task == "reading_order" else 1.0) * 3 * alone.loss
        strips = model.comicseq(inputs["panel_embeddings"], inputs["attention_mask"]).pooler_output
    assert_close(outputs.pooler_output, strips, atol=1e-5, rtol=0)
    assert_close(outputs.loss, total / 21 + 0.5 * outputs.contrastive_loss, atol=1e-5, rtol=0)


def test_examples_of_the_whole_step_divide_the_loss():
    """With the count of all parts given, the parts' losses add up to the loss of the whole."""
    model, inputs = build("pretraining"), example("pretraining")
    only_tasks = {task: inputs[task] for task in TASKS}
    with torch.no_grad():
        whole = model(**only_tasks).loss
        for count in (21, torch.tensor(21)):
            parts = [model(**{task: inputs[task]}, num_examples=count).loss for task in TASKS]
            assert_close(torch.stack(parts).sum(), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_sizes", [(1, 4), (2, 3)])
def test_tasks_of_different_batch_sizes(batch_sizes):
    few, many = batch_sizes
    model = build("pretraining")
    picking, order = example("panel_picking", batch_size=few), example("reading_order", batch_size=many)
    outputs = model(panel_picking=picking, reading_order=order)
    assert len(outputs.task_losses["panel_picking"]) == few and len(outputs.task_losses["reading_order"]) == many
    total = outputs.task_losses["panel_picking"].sum() + 0.3 * outputs.task_losses["reading_order"].sum()
    assert_close(outputs.loss, total / (few + many))
    assert outputs.pooler_output is None and outputs.contrastive_loss is None


@pytest.mark.parametrize("asked_by", ["argument", "configuration"])
def test_recorded_states_change_nothing(asked_by):
    """Padding is packed away unless states are recorded: both ways give the same."""
    model, inputs = build("pretraining"), example("pretraining")
    with torch.no_grad():
        expected = model(**inputs)
        if asked_by == "argument":
            actual = model(**inputs, output_hidden_states=True)
        else:
            model.config.output_hidden_states = True
            actual = model(**inputs)
    assert expected.hidden_states is None and actual.hidden_states[0].shape == (24, 9, 32)
    assert_close(actual.loss, expected.loss, atol=1e-5, rtol=0)
    assert_close(actual.pooler_output, expected.pooler_output, atol=1e-5, rtol=0)


def test_packed_rows_do_not_read_each_other():
    """A batch whose rows share packed rows gives each row what it gets alone."""
    model, inputs = build("pretraining"), example("reading_order", batch_size=30)
    del inputs["labels"]
    with torch.no_grad():
        together = model(reading_order=inputs).task_logits["reading_order"]
        for row in range(0, 30, 7):
            alone = model(reading_order={name: value[[row]] for name, value in inputs.items()})
            real = inputs["attention_mask"][row].bool()
            ours, theirs = together[row], alone.task_logits["reading_order"][0]
            assert_close(ours[real][:, real], theirs[real][:, real], atol=1e-5, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.integers(20, 40))
def test_first_fit_packs_pieces_apart(lengths, row_length):
    starts, num_rows = first_fit(lengths, row_length)
    places = [place for start, length in zip(starts, lengths, strict=True) for place in range(start, start + length)]
    assert len(places) == len(set(places)) == sum(lengths), "no place is taken twice"
    assert all(0 <= place < num_rows * row_length for place in places)
    for start, length in zip(starts, lengths, strict=True):
        assert length == 0 or start // row_length == (start + length - 1) // row_length, "no piece is torn"
    assert num_rows <= len(lengths)


def test_without_labels_there_are_scores_and_no_loss():
    inputs = {task: {k: v for k, v in example(task).items() if k != "labels"} for task in TASKS}
    outputs = build("pretraining")(**inputs)
    assert outputs.loss is None and outputs.task_losses is None and set(outputs.task_logits) == set(TASKS)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=7), st.booleans(), st.integers(0, 10**6))
def test_views_loss_is_info_nce(pages, with_books, seed):
    torch.manual_seed(seed)
    strips, temperature = torch.randn(len(pages), 6), 0.2
    books = [page // 2 for page in pages]
    losses = []
    for i, page in enumerate(pages):

        def similarity(j, i=i):
            return math.exp(torch.cosine_similarity(strips[i], strips[j], dim=0).item() / temperature)

        others = [j for j in range(len(pages)) if j != i]
        views = [j for j in others if pages[j] == page]
        against = [j for j in others if pages[j] == page or not (with_books and books[j] == books[i])]
        if views:
            losses.append(sum(-math.log(similarity(j) / sum(map(similarity, against))) for j in views) / len(views))
    expected = sum(losses) / len(losses) if losses else 0.0
    actual = views_loss(strips, torch.tensor(pages), torch.tensor(books) if with_books else None, temperature)
    assert actual.item() == pytest.approx(expected, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 10**6))
def test_panel_level_objectives(lengths, seed):
    """NT-Xent and cohesion by loops over pairs of real panels."""
    torch.manual_seed(seed)
    panels, temperature = torch.randn(len(lengths), 4, 6), 0.3
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    slots = [(page, slot) for page, length in enumerate(lengths) for slot in range(length)]
    cosine = {(a, b): torch.cosine_similarity(panels[a], panels[b], dim=0).item() for a in slots for b in slots}
    losses, likeness = [], []
    for own in slots:
        others = [slot for slot in slots if slot != own]
        mates = [slot for slot in others if slot[0] == own[0]]
        total = sum(math.exp(cosine[own, slot] / temperature) for slot in others)
        if mates:
            losses.append(sum(math.log(total) - cosine[own, mate] / temperature for mate in mates) / len(mates))
        likeness += [cosine[own, mate] for mate in mates]
    assert nt_xent_loss(panels, mask, None, temperature).item() == pytest.approx(
        sum(losses) / len(losses) if losses else 0.0, abs=1e-4
    )
    expected = 1 - sum(likeness) / len(likeness) if likeness else 1.0
    assert cohesion_loss(panels, mask).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("objective", ["views", "nt_xent", "cohesion"])
def test_every_objective_trains_the_encoder(objective):
    model = build("pretraining", tiny_config(contrastive_objective=objective))
    inputs = example("encoder", batch_size=4)
    outputs = model(**inputs, labels=torch.tensor([0, 0, 1, 1]), book_ids=torch.tensor([0, 0, 5, 5]))
    assert_close(outputs.loss, 0.5 * outputs.contrastive_loss)
    outputs.loss.backward()
    for layer in model.comicseq.layers:
        assert layer.mlp.fc1.weight.grad.abs().sum() > 0


def brute_force(scores: list[list[float]], target: str) -> float:
    """The highest total score over all permutations."""

    def total(order):
        pairs = itertools.pairwise(order) if target == "adjacency" else itertools.combinations(order, 2)
        return sum(scores[i][j] for i, j in pairs)

    return max(map(total, itertools.permutations(range(len(scores)))))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.sampled_from(["adjacency", "precedence"]), st.integers(0, 10**6))
def test_best_order_is_the_best_permutation(num_panels, target, seed):
    torch.manual_seed(seed)
    scores = torch.randn(num_panels, num_panels)
    order = best_orders(scores[None], torch.ones(1, num_panels), target)[0].tolist()
    scores = scores.tolist()
    assert sorted(order) == list(range(num_panels))
    pairs = itertools.pairwise(order) if target == "adjacency" else itertools.combinations(order, 2)
    assert sum(scores[i][j] for i, j in pairs) == pytest.approx(brute_force(scores, target))


@pytest.mark.parametrize("target", ["adjacency", "precedence"])
def test_a_long_page_is_ordered_within_the_beam(target):
    """32 panels whose scores say plainly what follows what."""
    torch.manual_seed(0)
    truth = torch.randperm(32).tolist()
    place = torch.tensor([truth.index(panel) for panel in range(32)])
    steps = place[None, :] - place[:, None]
    scores = torch.where(steps == 1, 6.0, -6.0) if target == "adjacency" else torch.where(steps > 0, 6.0, -6.0)
    scores = scores + torch.randn(32, 32)
    assert beam_order(scores.tolist(), target, beam_width=50) == truth
    assert best_orders(scores[None], torch.ones(1, 32), target)[0].tolist() == truth


@pytest.mark.parametrize("target", ["adjacency", "precedence"])
def test_predict_order_orders_the_real_panels(target):
    model = build("reading_order", tiny_config(reading_order_target=target))
    inputs = example("reading_order")
    panels, real = inputs["panel_embeddings"], inputs["attention_mask"].bool()
    orders = model.predict_order(panels, inputs["attention_mask"])
    assert orders.dtype == torch.long and orders.shape == (3, 5)
    with torch.no_grad():
        logits = model(panels, inputs["attention_mask"]).logits
    for row in range(3):
        slots = real[row].nonzero()[:, 0]
        pairs = itertools.pairwise if target == "adjacency" else lambda order: itertools.combinations(order, 2)
        scores = logits[row].tolist()
        best = max(
            itertools.permutations(slots.tolist()), key=lambda order: sum(scores[i][j] for i, j in pairs(order))
        )
        assert orders[row, : len(slots)].tolist() == list(best)
        assert (orders[row, len(slots) :] == -1).all()
    assert sorted(model.predict_order(panels)[0].tolist()) == list(range(5))
    moved = model.predict_order(panels[:1].flip(1))
    assert torch.equal(4 - moved, model.predict_order(panels[:1])), "the order given does not matter"
