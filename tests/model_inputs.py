"""A tiny model, and inputs for every class, as the model tests use them."""

import torch
from torch import nn

from modeling_comicseq import (
    ComicSeqConfig,
    ComicSeqForCaptionRelevance,
    ComicSeqForCharacterCoherence,
    ComicSeqForPanelPicking,
    ComicSeqForPreTraining,
    ComicSeqForReadingOrder,
    ComicSeqForTextClosure,
    ComicSeqForTextCloze,
    ComicSeqForVisualClosure,
    ComicSeqModel,
)

TASKS = {
    "panel_picking": ComicSeqForPanelPicking,
    "character_coherence": ComicSeqForCharacterCoherence,
    "visual_closure": ComicSeqForVisualClosure,
    "text_closure": ComicSeqForTextClosure,
    "caption_relevance": ComicSeqForCaptionRelevance,
    "text_cloze": ComicSeqForTextCloze,
    "reading_order": ComicSeqForReadingOrder,
}
CLASSES = {"encoder": ComicSeqModel, **TASKS, "pretraining": ComicSeqForPreTraining}


def tiny_config(**changes) -> ComicSeqConfig:
    """A configuration in which all widths differ and no dropout disturbs comparisons."""
    fields = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 12,
        "panel_embedding_dim": 24,
        "text_embedding_dim": 20,
        "visual_embedding_dim": 16,
        "caption_embedding_dim": 28,
        "input_similarity": True,
    }
    return ComicSeqConfig(**{**fields, **changes})


def boxed_config(**changes) -> ComicSeqConfig:
    """As `tiny_config`, of a model that reads where panels stand."""
    return tiny_config(**{"box_embedding": True, "box_relation_layers": 1, **changes})


def build(name: str, config: ComicSeqConfig | None = None, attention: str = "sdpa", seed: int = 0) -> nn.Module:
    """
    A model of the class `name` in evaluation mode. Every weight is drawn anew with a size at which each part of the
    model (candidates, positions, biases) shows in the outputs.
    """
    torch.manual_seed(seed)
    model = CLASSES[name]._from_config(config or tiny_config(), attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def lengths_mask(lengths: list[int], width: int | None = None) -> torch.Tensor:
    """Mask `(len(lengths), width)`, 1 in the first `lengths[row]` slots of each row."""
    return (torch.arange(width or max(lengths)) < torch.tensor(lengths)[:, None]).long()


def draw_boxes(*shape: int, seed: int = 4) -> torch.Tensor:
    """Boxes `(..., 4)` that stand anywhere."""
    first, sides = torch.rand(2, *shape, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat((0.7 * first, 0.7 * first + 0.1 + 0.2 * sides), dim=-1)


def example(name: str, config: ComicSeqConfig | None = None, seed: int = 1, batch_size: int = 3) -> dict:
    """
    Inputs with labels of the class `name`: 3 to 5 panels and 2 to 4 candidates a row, the rest is padding. Where the
    configuration has boxes, the last real panel of every second page has none.
    """
    config = config or tiny_config()
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    panel_counts = [5 - row % 3 for row in range(batch_size)]
    choice_counts = [2 + row % 3 for row in range(batch_size)]
    num_panels, num_choices = max(panel_counts), max(choice_counts)
    last_choice = torch.tensor(choice_counts) - 1
    panels = {
        "panel_embeddings": draw(batch_size, num_panels, config.panel_embedding_dim),
        "attention_mask": lengths_mask(panel_counts),
    }
    if config.box_embedding:
        panels["panel_boxes"] = draw_boxes(batch_size, num_panels, seed=seed)
        for row in range(1, batch_size, 2):
            panels["panel_boxes"][row, panel_counts[row] - 1] = 0.0
    choices = {
        "candidate_embeddings": draw(batch_size, num_choices, config.panel_embedding_dim),
        "candidate_mask": lengths_mask(choice_counts),
        "labels": last_choice,
    }
    asked = {"mask_position": torch.tensor([(1 + row) % count for row, count in enumerate(panel_counts)])}

    if name == "encoder":
        return panels
    if name == "pretraining":
        return {
            **panels,
            "labels": torch.arange(batch_size) // 2,
            **{task: example(task, config, seed + 1, batch_size) for task in TASKS},
        }
    if name == "panel_picking":
        return {**panels, **asked, **choices}
    if name == "character_coherence":
        labels = (draw(batch_size, num_choices) > 0).long()
        return {**panels, **choices, "labels": torch.where(choices["candidate_mask"] == 1, labels, -100)}
    if name in ("visual_closure", "text_closure"):
        return {**panels, **choices}
    if name == "caption_relevance":
        return {"caption_embeddings": draw(batch_size, config.caption_embedding_dim), **choices}
    if name == "text_cloze":
        return {
            **panels,
            **asked,
            "text_embeddings": draw(batch_size, num_panels, config.text_embedding_dim),
            "visual_embedding": draw(batch_size, config.visual_embedding_dim),
            "candidate_text_embeddings": draw(batch_size, num_choices, config.text_embedding_dim),
            "candidate_mask": choices["candidate_mask"],
            "labels": last_choice,
        }
    assert name == "reading_order"
    real = panels["attention_mask"].bool()
    slots = torch.arange(num_panels)
    follows = (slots[None, :] == slots[:, None] + 1).long().expand(batch_size, -1, -1)
    pairs = real[:, :, None] & real[:, None] & (slots[None, :] != slots[:, None])
    return {**panels, "labels": torch.where(pairs, follows, -100)}


def unread_slots(inputs: dict) -> dict[str, torch.Tensor]:
    """The slots `(B, L)` of each tensor of a task's inputs that its class, without `show_asked_box`, must not read."""
    panels = inputs.get("attention_mask")
    unread = {}
    if panels is not None:
        unread["panel_embeddings"] = panels == 0
        unread |= {name: panels == 0 for name in ("text_embeddings", "panel_boxes") if name in inputs}
    if "mask_position" in inputs:
        asked = torch.arange(panels.shape[1]) == inputs["mask_position"][:, None]
        unread = {name: slots | asked for name, slots in unread.items()}
    for name in ("candidate_embeddings", "candidate_text_embeddings"):
        if name in inputs:
            unread[name] = inputs["candidate_mask"] == 0
    return unread
