"""Pretraining: the weighted sum of the tasks' losses and the contrastive objectives."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from modeling_comicseq.model.losses_comicseq import cohesion_loss, info_nce_loss, matching_losses
from modeling_comicseq.model.ordering_comicseq import beam_order, best_orders, long_order, parts_in_order
from modeling_comicseq.model.packing_comicseq import first_fit
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
            assert_close(outputs.task_losses[task].mean(), alone.loss)
            if task == "reading_order":
                real = inputs[task]["attention_mask"].bool()
                counted = real[:, :, None] & real[:, None]
                assert_close(outputs.task_logits[task][counted], alone.logits[counted])
            else:
                assert_close(outputs.task_logits[task], alone.logits)
            total += (0.3 if task == "reading_order" else 1.0) * 3 * alone.loss
        strips = model.comicseq(inputs["panel_embeddings"], inputs["attention_mask"]).pooler_output
    assert_close(outputs.pooler_output, strips)
    assert_close(outputs.loss, total / 21 + 0.5 * outputs.contrastive_loss)


def test_examples_of_the_whole_step_divide_the_loss():
    """With the count of all parts given, the parts' losses add up to the loss of the whole."""
    model, inputs = build("pretraining"), example("pretraining")
    only_tasks = {task: inputs[task] for task in TASKS}
    with torch.no_grad():
        whole = model(**only_tasks).loss
        for count in (21, torch.tensor(21)):
            parts = [model(**{task: inputs[task]}, num_examples=count).loss for task in TASKS]
            assert_close(torch.stack(parts).sum(), whole)


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
    assert_close(actual.loss, expected.loss)
    assert_close(actual.pooler_output, expected.pooler_output)


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
            assert_close(ours[real][:, real], theirs[real][:, real])


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
def test_info_nce_by_loops(pages, with_books, seed):
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
    actual = info_nce_loss(strips, torch.tensor(pages), torch.tensor(books) if with_books else None, temperature)
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
    config = tiny_config(contrastive_objective="nt_xent", contrastive_temperature=temperature)
    pages = torch.arange(len(lengths))
    nt_xent = build("pretraining", config).contrastive_loss(None, panels, mask, pages, None)
    assert nt_xent.item() == pytest.approx(sum(losses) / len(losses) if losses else 0.0, abs=1e-4)
    expected = 1 - sum(likeness) / len(likeness) if likeness else 1.0
    vectors = torch.stack([panels[slot] for slot in slots])
    pages = torch.tensor([page for page, _ in slots])
    assert cohesion_loss(vectors, pages).item() == pytest.approx(expected, abs=1e-4)


def masked_pages(batch_size: int = 3) -> dict[str, torch.Tensor]:
    """Pages of 5, 4, 3, … panels, of which the second (and of the first page the last, too) is masked."""
    torch.manual_seed(0)
    panels = torch.randn(batch_size, 5, 24)
    mask = torch.arange(5) < torch.tensor([max(5 - row, 2) for row in range(batch_size)])[:, None]
    masked = torch.zeros_like(mask)
    masked[:, 1] = True
    masked[:1, 4] = True
    return {
        "panel_embeddings": panels,
        "attention_mask": mask.long(),
        "masked_panels": masked,
        "target_embeddings": panels[masked],
        "labels": torch.arange(int(masked.sum())) + 7,
    }


def test_masked_panels_are_told_from_each_other():
    """The loss by loops; what stands in a masked slot is not read."""
    model = build("pretraining", tiny_config(masked_panel_weight=0.7))
    inputs = masked_pages()
    with torch.no_grad():
        outputs = model(masked_panels=inputs)
        view = model.comicseq.embed(
            inputs["panel_embeddings"], inputs["attention_mask"], masked_panels=inputs["masked_panels"]
        )
        (states,) = model.comicseq.encode([view])
        predictions = model.masked_panel_head(states[inputs["masked_panels"]])
        targets = model.comicseq.embeddings.panel_projection(inputs["target_embeddings"], torch.float32)
    losses = []
    for row, prediction in enumerate(predictions):
        scores = [torch.cosine_similarity(prediction, target, dim=0).item() / 0.07 for target in targets]
        losses.append(math.log(sum(map(math.exp, scores))) - scores[row])
    assert outputs.masked_panel_loss.item() == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert_close(outputs.loss, 0.7 * outputs.masked_panel_loss)
    garbage = torch.where(inputs["masked_panels"][..., None], torch.nan, inputs["panel_embeddings"])
    with torch.no_grad():
        again = model(masked_panels=inputs | {"panel_embeddings": garbage})
    assert torch.equal(again.loss, outputs.loss)


def test_a_panel_seen_twice_is_no_negative_of_itself():
    torch.manual_seed(0)
    queries, keys = torch.randn(3, 4), torch.randn(3, 4)
    losses = matching_losses(queries, keys, torch.tensor([5, 6, 5]), 0.5)
    for row, others in enumerate(([0, 1], [0, 1, 2], [1, 2])):
        scores = {key: torch.cosine_similarity(queries[row], keys[key], dim=0).item() / 0.5 for key in others}
        expected = math.log(sum(map(math.exp, scores.values()))) - scores[row]
        assert losses[row].item() == pytest.approx(expected, abs=1e-5)


def test_masked_panels_need_the_head():
    with pytest.raises(ValueError, match="`masked_panel_weight` is 0"):
        build("pretraining")(masked_panels=masked_pages())


@pytest.mark.parametrize("objective", ["views", "nt_xent", "cohesion"])
def test_tasks_and_strips_without_rows_change_nothing(objective):
    """A process whose share of a batch has no example of some task passes it without rows."""
    model = build("pretraining", tiny_config(contrastive_objective=objective, masked_panel_weight=1.0)).train()
    inputs = example("pretraining")
    some = {name: inputs[name] for name in ("panel_picking", "reading_order")}
    none = {
        task: {k: v[:0] if isinstance(v, torch.Tensor) else v for k, v in inputs[task].items()}
        for task in TASKS
        if task not in some
    }
    strips = {name: inputs[name][:0] for name in ("panel_embeddings", "attention_mask", "labels")}
    nothing_masked = {name: value[:0] for name, value in masked_pages().items()}
    outputs = model(**some, **none, **strips, masked_panels=nothing_masked)
    outputs.loss.backward()
    expected = model(**some)
    assert_close(outputs.loss - (0.5 if objective == "cohesion" else 0.0), expected.loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("candidate_encoding", ["joint", "independent"])
def test_a_process_without_a_page_takes_part_in_a_step(candidate_encoding):
    model = build("pretraining", tiny_config(candidate_encoding=candidate_encoding)).train()
    inputs = example("pretraining")
    empty = {
        name: {key: tensor[:0] for key, tensor in value.items()} if isinstance(value, dict) else value[:0]
        for name, value in inputs.items()
    }
    outputs = model(**empty, num_examples=4)
    outputs.loss.backward()
    assert outputs.loss == 0 and len(outputs.pooler_output) == 0
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


def test_a_strip_without_a_direction_does_not_drown_the_others():
    """Dropout can take the attention to the only panel of a strip: its vector is zero, which has no cosine."""
    torch.manual_seed(0)
    strips = torch.cat((torch.zeros(1, 6), torch.randn(5, 6))).requires_grad_()
    pages = torch.tensor([0, 0, 1, 1, 2, 2])
    info_nce_loss(strips, pages, None, 0.07).backward()
    norms = strips.grad.norm(dim=-1)
    assert norms.isfinite().all() and norms[0] < 1e3 * norms[1:].max()


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


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.sampled_from([0.3, 2.0]), st.booleans(), st.integers(0, 10**6))
def test_a_page_that_falls_into_parts_is_still_ordered_best(num_panels, noise, has_ties, seed):
    torch.manual_seed(seed)
    scores = torch.randn(num_panels, num_panels) * noise + torch.ones(num_panels, num_panels).triu(1)
    scores = scores.round() if has_ties else scores
    order = long_order(scores, "precedence")
    assert sorted(order) == list(range(num_panels))
    total = sum(scores[i, j].item() for i, j in itertools.combinations(order, 2))
    assert total == pytest.approx(brute_force(scores.tolist(), "precedence"), abs=1e-5)
    assert [len(part) for part in parts_in_order(torch.ones(9, 9).triu(1))] == [1] * 9


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


@pytest.mark.parametrize("num_panels", [1, 4, 14])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_have_no_order(num_panels, value):
    scores, mask = torch.randn(3, 15, 15), torch.arange(15) < torch.tensor([[15], [num_panels], [2]])
    scores[:, num_panels:, num_panels:] = value  # padding is not read
    assert sorted(best_orders(scores, mask & mask[1], "adjacency")[1].tolist()) == [
        *[-1] * (15 - num_panels),
        *range(num_panels),
    ]
    scores[1, 0, num_panels - 1] = value
    with pytest.raises(ValueError, match="scores of row 1 hold NaN or infinity, so that it has no order"):
        best_orders(scores, mask & mask[1], "adjacency")
    model, inputs = build("reading_order"), example("reading_order")
    torch.nn.init.constant_(model.reading_order_head.scorer.bias, value)
    with pytest.raises(ValueError, match="scores of row 2 hold NaN or infinity"):
        model.predict_order(inputs["panel_embeddings"], inputs["attention_mask"])


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
