"""The heads and task classes against plain formulas, and what each loss trains."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from tests.model_inputs import CLASSES, TASKS, build, example, tiny_config

PLAIN = tiny_config(similarity_term=False, input_similarity=False)  # the architecture document's heads


def mlp(vectors: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    """Linear layers with GELU between them."""
    for index in range(0, len(parameters), 2):
        vectors = F.linear(F.gelu(vectors) if index else vectors, parameters[index], parameters[index + 1])
    return vectors


def bilinear(left: torch.Tensor, right: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """PyTorch's own `Bilinear(D, D, 1)`."""
    layer = nn.Bilinear(left.shape[-1], right.shape[-1], 1)
    layer.weight.data, layer.bias.data = weight[None], bias.reshape(1)
    return layer(left.contiguous(), right.contiguous()).squeeze(-1)


def beside(context: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    return torch.cat((context[:, None].expand_as(candidates), candidates), -1)


@torch.no_grad()
def reference_scores(task: str, head: nn.Module, panels, candidates, inputs, texts=None) -> torch.Tensor:
    """The head's formula on encoded panels (B, N, D) and candidates (B, K, D), row by row."""
    weights, scores = list(head.parameters()), []
    for row in range(len(panels)):
        real = panels[row][inputs["attention_mask"][row] == 1] if "attention_mask" in inputs else panels[row]
        choices = candidates[row] if candidates is not None else None
        if task == "panel_picking":
            scores.append(mlp(beside(panels[row, inputs["mask_position"][row]][None], choices[None])[0], *weights))
        elif task == "character_coherence":
            scores.append(mlp(beside(real.mean(0)[None], choices[None])[0], *weights))
        elif task in ("visual_closure", "text_closure"):
            assert len(weights) == 6, "three layers"
            scores.append(mlp(beside(real[-1][None], choices[None])[0], *weights))
        elif task == "caption_relevance":
            scores.append(bilinear(choices, panels[row, :1].expand_as(choices), *weights))
        elif task == "text_cloze":
            asked = int(inputs["mask_position"][row])
            others = [slot for slot in range(len(real)) if slot != asked]
            context = torch.cat((panels[row, asked], texts[row, others].mean(0)))
            context = mlp(context[None], *weights[:4]).expand_as(choices)
            scores.append(bilinear(context, choices, *weights[4:]))
        else:
            slots = range(len(panels[row]))
            pairs = [bilinear(panels[row, i][None], panels[row, j][None], *weights) for i in slots for j in slots]
            scores.append(torch.cat(pairs).view(len(slots), -1).fill_diagonal_(0))  # no panel follows itself
    return torch.stack([score.squeeze(-1) if score.shape[-1] == 1 else score for score in scores])


@pytest.mark.parametrize("task", TASKS)
def test_class_equals_its_formula(task):
    model, inputs = build(task, PLAIN), example(task)
    head = getattr(model, f"{task}_head")
    question = {name: value for name, value in inputs.items() if name != "labels"}
    with torch.no_grad():
        logits = model(**question).logits
        outputs = model.comicseq(**model.encoder_inputs(model.config, model.complete(question)))
        texts = None
        if task == "text_cloze":
            embeddings = model.comicseq.embeddings
            texts = inputs["text_embeddings"]
            texts = texts / texts.pow(2).mean(-1, keepdim=True).sqrt()
            texts = embeddings.text_projection.projection(texts) + embeddings.text_projection.type_embedding
    candidates = outputs.candidate_hidden_state
    expected = reference_scores(task, head, outputs.last_hidden_state, candidates, inputs, texts)
    if "candidate_mask" in inputs:
        expected[inputs["candidate_mask"] == 0] = torch.finfo(torch.float32).min
    assert_close(logits, expected)


def test_heads_are_public_modules_of_plain_vectors():
    """Under the architecture document's names and arguments, single candidates and panels included."""
    model = build("pretraining", PLAIN)
    panels, candidates, vector = torch.randn(2, 4, 32), torch.randn(2, 3, 32), torch.randn(2, 32)
    with torch.no_grad():
        assert model.panel_picking_head(context=vector, candidates=candidates).shape == (2, 3)
        several = model.character_coherence_head(panels=panels, candidate=candidates)
        assert several.shape == (2, 3)
        assert_close(model.character_coherence_head(panels=panels, candidate=candidates[:, 1]), several[:, 1])
        for closure in (model.visual_closure_head, model.text_closure_head):
            assert_close(
                closure(preceding=panels, candidates=candidates), closure(panels[:, -1:], candidates=candidates)
            )
        assert model.visual_closure_head is not model.text_closure_head
        several = model.caption_relevance_head(panel=candidates, caption=vector)
        assert_close(model.caption_relevance_head(panel=candidates[:, 2], caption=vector), several[:, 2])
        texts = model.text_cloze_head(visual_context=vector, surrounding_text=vector, candidate_texts=candidates)
        assert texts.shape == (2, 3)
        assert model.reading_order_head(panels=panels).shape == (2, 4, 4)


def test_similarity_term_is_a_prior_for_likeness():
    """Untrained, the candidate that equals its context scores above all others; without the term it need not."""
    config = tiny_config(hidden_size=64)
    torch.manual_seed(0)
    for task, pick in {"panel_picking": 0, "visual_closure": 2, "caption_relevance": 1}.items():
        head = getattr(CLASSES["pretraining"](config).eval(), f"{task}_head")
        candidates = torch.randn(8, 4, 64)
        context = candidates[:, pick] + 0.1 * torch.randn(8, 64)
        with torch.no_grad():
            if task == "caption_relevance":
                scores = head(candidates, context)
            else:
                scores = head(context[:, None] if task == "visual_closure" else context, candidates)
        assert (scores.argmax(1) == pick).all(), task


@pytest.mark.parametrize(
    "task", ["panel_picking", "visual_closure", "text_closure", "caption_relevance", "text_cloze"]
)
def test_choice_loss_is_cross_entropy_over_real_candidates(task):
    model, inputs = build(task), example(task)
    with torch.no_grad():
        outputs = model(**inputs)
    losses = []
    for row, label in enumerate(inputs["labels"]):
        probabilities = outputs.logits[row, inputs["candidate_mask"][row] == 1].softmax(0)
        losses.append(-probabilities[label].log())
    assert_close(outputs.loss, torch.stack(losses).mean())


def test_caption_relevance_also_asks_for_the_caption_in_training():
    """Each right panel must find its caption among the batch's captions."""
    model, inputs = build("caption_relevance").train(), example("caption_relevance")
    choices = torch.arange(3), inputs["labels"]
    with torch.no_grad():
        outputs = model(**inputs)
        right = inputs["candidate_embeddings"][choices]
        scores = torch.stack(
            [model(caption.expand(3, -1), right[:, None]).logits[:, 0] for caption in inputs["caption_embeddings"]]
        )  # (captions, panels)
    by_panel = [-scores[:, row].softmax(0)[row].log() for row in range(3)]
    by_caption = F.cross_entropy(outputs.logits, inputs["labels"])
    assert_close(outputs.loss, (by_caption + torch.stack(by_panel).mean()) / 2)


@pytest.mark.parametrize("task", ["character_coherence", "reading_order"])
def test_binary_loss(task):
    """Binary cross-entropy, averaged over each row's labels, then over rows."""
    model, inputs = build(task), example(task)
    with torch.no_grad():
        outputs = model(**inputs)
    losses = []
    for logits, labels in zip(outputs.logits, inputs["labels"], strict=True):
        probability = logits[labels != -100].double().sigmoid()
        truth = labels[labels != -100].bool()
        losses.append(-torch.where(truth, probability, 1 - probability).log().mean())
    assert_close(outputs.loss.double(), torch.stack(losses).mean(), rtol=1.3e-6, atol=1e-5)


def test_one_candidate_suffices_for_coherence():
    model, inputs = build("character_coherence"), example("character_coherence")
    inputs = {
        name: value[:, :1] if name in ("candidate_embeddings", "labels") else value
        for name, value in inputs.items()
        if name != "candidate_mask"
    }
    outputs = model(**inputs)
    assert outputs.logits.shape == (3, 1)
    assert_close(outputs.loss, F.binary_cross_entropy_with_logits(outputs.logits, inputs["labels"].float()))


def test_a_page_of_one_panel_has_no_surrounding_text():
    model = build("text_cloze")
    inputs = example("text_cloze")
    inputs = {
        name: value[:, :1] if name in ("panel_embeddings", "attention_mask", "text_embeddings") else value
        for name, value in inputs.items()
    }
    inputs["mask_position"] = torch.zeros(3, dtype=torch.long)
    assert model(**inputs).loss.isfinite()


def test_text_cloze_without_the_picture():
    model, inputs = build("text_cloze"), example("text_cloze")
    seen = model(**inputs).logits
    del inputs["visual_embedding"]
    assert (model(**inputs).logits - seen)[inputs["candidate_mask"] == 1].abs().min() > 1e-5


@pytest.mark.parametrize("task", TASKS)
def test_each_loss_alone_trains_every_layer(task):
    """A head fed with raw vectors would give the encoder no gradient."""
    model, inputs = build(task), example(task)
    model(**inputs).loss.backward()
    for index, layer in enumerate(model.comicseq.layers):
        for name, parameter in layer.named_parameters():
            # Softmax ignores what all keys share, and caption and panels are encoded alone: no choice of attention.
            if name == "attention.k_proj.bias" or (
                task == "caption_relevance" and name.startswith(("attention.q", "attention.k"))
            ):
                continue
            assert parameter.grad.abs().sum() > 1e-8, f"layer {index}: {name}"
    used = {"caption_relevance": ["caption", "panel"], "text_cloze": ["text", "visual", "panel"]}.get(task, ["panel"])
    for modality in used:
        projection = getattr(model.comicseq.embeddings, f"{modality}_projection").projection
        assert projection.weight.grad.abs().sum() > 0, modality
    head = getattr(model, f"{task}_head")
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("candidate_encoding", ["joint", "independent"])
@pytest.mark.parametrize("task", TASKS)
def test_each_loss_reaches_every_parameter(task, candidate_encoding):
    """Training in several processes waits for a gradient of each: what a question does not read gets one of zero."""
    model = build(task, tiny_config(candidate_encoding=candidate_encoding)).train()
    model(**example(task)).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert not any("pooler" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("task", ["panel_picking", "text_cloze"])
def test_the_mask_embedding_is_trained(task):
    model = build(task)
    model(**example(task)).loss.backward()
    assert model.comicseq.embeddings.mask_embedding.grad.abs().sum() > 0


@pytest.mark.parametrize("modality", ["visual", "text"])
def test_closure_reads_vectors_of_one_modality(modality):
    task = f"{modality}_closure"
    model, inputs = build(task), example(task)
    width = getattr(model.config, f"{modality}_embedding_dim")
    for name in ("panel_embeddings", "candidate_embeddings"):
        inputs[name] = torch.randn(*inputs[name].shape[:2], width)
    model(**inputs, modality=modality).loss.backward()
    embeddings = model.comicseq.embeddings
    assert getattr(embeddings, f"{modality}_projection").projection.weight.grad.abs().sum() > 0
    assert embeddings.panel_projection.projection.weight.grad is None
