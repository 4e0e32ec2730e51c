# Copyright 2026 The ComicSeq authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""PyTorch ComicPage text reader: candidate texts read the words of the texts around them"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .heads_comicseq import as_mask
from .tasks_comicseq import TEXT_CLOSURE, TEXT_CLOZE

# The tasks that ask for a text; no set, whose order would be another in each process, and with it that of random draws.
READING_TASKS = tuple(task.name for task in (TEXT_CLOZE, TEXT_CLOSURE))
# Tokens of a text that are read, those that a text model puts at its ends included; of a longer one the first.
MAX_TOKENS = 32
# Panels further from the asked one than this are all told to be so far.
MAX_OFFSET = 8


def text_layers(text_model: PreTrainedModel) -> nn.ModuleList:
    """
    The layers of a text model, the first first.

    Raises:
        ValueError: They cannot be read one by one, as those of BERT: from states and an attention mask alone.
    """
    count, width = text_model.config.num_hidden_layers, text_model.config.hidden_size
    found = [each for each in text_model.modules() if isinstance(each, nn.ModuleList) and len(each) == count]
    like = next(text_model.parameters())
    try:
        states = torch.zeros(1, 2, width, dtype=like.dtype, device=like.device)
        was_training = found[0].training
        with torch.no_grad():
            read = found[0].eval()[-1](states, states.new_zeros(1, 1, 2, 2))
        found[0].train(was_training)
        fits = isinstance(read, torch.Tensor) and read.shape == states.shape
    except (IndexError, TypeError, ValueError, RuntimeError, AttributeError):
        fits = False
    if not fits:
        raise ValueError(
            f'`text_reading` is "tokens" but the layers of {type(text_model).__name__} need more than states and a mask: take'
            ' a text model that is built as BERT is, or `text_reading="vectors"`.'
        )
    return found[0]


class ComicPageTextReader(nn.Module):
    """
    Scores candidate texts by what the words of a page's other texts say of them.

    The lower layers of a text model have read every text alone. Copies of its last layers read on, with one change: the
    tokens of the context's texts see each other, and those of a candidate see the context and their own text, never
    another candidate's. A learned vector tells each token how many panels before or behind the asked one its text stands
    (0 for a candidate). The mean of a candidate's states is weighed to a score, to which its scaled cosine to the mean of the
    context's states is added: what the text model knows of likeness would else have to be learned anew. All texts of a
    question stand in one row, without padding between them, so that the context is read once however many candidates there
    are. Of a text of more than 32 tokens the first 32 are read.

    Args:
        text_model: The text model whose last layers are copied; its configuration is shared.
        num_layers: How many of them. The states that are read are those before them.

    Raises:
        ValueError: The text model has fewer layers, is not built as BERT is, or attends in a way that takes no mask of pairs.
    """

    def __init__(self, text_model: PreTrainedModel, num_layers: int):
        super().__init__()
        config = text_model.config
        if not 1 <= num_layers <= config.num_hidden_layers:
            raise ValueError(
                f"`text_reading_layers` is {num_layers} but must be from 1 to {config.num_hidden_layers}, the layers of the"
                " text model."
            )
        last = text_layers(text_model)[-num_layers:]
        self.config = config
        self.layers = nn.ModuleList(copy.deepcopy(layer, {id(config): config}) for layer in last)
        self.layers.requires_grad_(True)  # the encoder's may be frozen
        self.offset_embeddings = nn.Embedding(2 * MAX_OFFSET + 1, config.hidden_size)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        self.log_scale = nn.Parameter(torch.full((1,), math.log(10.0)))
        for weight in (self.offset_embeddings.weight, self.score.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(
        self,
        token_states: torch.Tensor,
        token_mask: torch.Tensor,
        context_index: torch.Tensor,
        context_offsets: torch.Tensor,
        candidate_index: torch.Tensor,
    ) -> torch.Tensor:
        """
        Scores `(B, K)` of candidates, 0 for one that has no token.

        Args:
            token_states: States of the distinct texts before the layers that are copied here (T, L, W).
            token_mask: True, or 1, for a token of a text (T, L).
            context_index: Row of each context text (B, N); -1 for none.
            context_offsets: How many panels it stands behind the asked one, negative before it (B, N).
            candidate_index: Row of each candidate text (B, K); -1 for none.
        """
        if "flash" in (self.config._attn_implementation or ""):
            raise ValueError(
                "Texts are read at the level of tokens with a mask of pairs, which flash attention does not take: load the"
                ' model with `attn_implementation="sdpa"`.'
            )
        if not len(candidate_index):  # of no question, attention has no shape
            return token_states.new_zeros(candidate_index.shape)
        num_context, rows = context_index.shape[1], torch.cat((context_index, candidate_index), dim=1)
        token_mask = token_mask.bool()
        places = (
            token_mask.logical_not().int().argsort(dim=1, stable=True)
        )  # of padding on either side, tokens come first
        lengths = token_mask.sum(1).clamp(max=MAX_TOKENS)
        slot, token = spread(torch.where(rows >= 0, lengths[rows.clamp(min=0)], 0))
        is_token = slot >= 0
        slot = slot.clamp(min=0)
        texts = rows.gather(1, slot).clamp(min=0)
        states = token_states[texts, places[texts, token]]
        offsets = torch.cat((context_offsets.clamp(-MAX_OFFSET, MAX_OFFSET), torch.zeros_like(candidate_index)), dim=1)
        states = states + self.offset_embeddings(offsets.gather(1, slot) + MAX_OFFSET).to(states.dtype)
        sees = (slot[:, None] < num_context) | (slot[:, None] == slot[:, :, None])
        # Padding sees itself, as attention to nothing is not a number.
        itself = torch.eye(slot.shape[1], dtype=torch.bool, device=slot.device)
        sees = torch.where(is_token[:, None] & is_token[:, :, None], sees, itself)
        mask = torch.zeros_like(sees, dtype=states.dtype).masked_fill(~sees, torch.finfo(states.dtype).min)[:, None]
        for layer in self.layers:
            states = layer(states, mask)
        candidates = torch.arange(num_context, rows.shape[1], device=slot.device)
        is_of = (slot[:, None] == candidates[:, None]) & is_token[:, None]
        means = is_of.to(states.dtype) @ states / is_of.sum(-1, keepdim=True).clamp(min=1)
        is_context = ((slot < num_context) & is_token)[:, None].to(states.dtype)
        likeness = nn.functional.cosine_similarity(is_context @ states, means, dim=-1, eps=1e-6)
        return self.score(means).squeeze(-1) + self.log_scale.exp() * likeness


def texts_of(task: str, question: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Which texts a question of text-cloze or text closure shows: numbers of the context's (B, N), 0 for none, how many panels
    behind the asked one they stand (B, N), and numbers of the candidates' (B, K).

    Args:
        task: Name of the task.
        question: Its inputs, with numbers of texts (..., 1), or of pictures and texts (..., 2), in the place of vectors.
    """
    is_cloze = task == TEXT_CLOZE.name
    names = (
        ("text_embeddings", "candidate_text_embeddings") if is_cloze else ("panel_embeddings", "candidate_embeddings")
    )
    context, candidates = (question[name][..., -1] for name in names)
    shown = as_mask(question.get("attention_mask"), question[names[0]])
    place, asked = torch.arange(context.shape[1], device=context.device), question.get("mask_position")
    end = shown.sum(1)  # closure asks for the panel behind the last
    if asked is not None:
        shown = shown & (place != asked[:, None])
        end = asked if is_cloze else end
    mask = question.get("candidate_mask")
    candidates = candidates if mask is None else torch.where(mask.bool(), candidates, 0)
    return torch.where(shown, context, 0), place - end[:, None], candidates


def spread(lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Texts of `lengths` (B, S) one behind the other: of each place of a row, which text stands there, -1 behind the last, and
    which of its tokens; both (B, P), where P is the length of the longest row and at least 1.
    """
    ends = lengths.cumsum(1)
    size = max(1, int(ends[:, -1].max()))
    place = torch.arange(size, device=lengths.device).expand(len(lengths), -1).contiguous()
    slot = torch.searchsorted(ends, place, right=True)
    is_token = slot < lengths.shape[1]
    slot = slot.clamp(max=lengths.shape[1] - 1)
    token = torch.where(is_token, place - (ends - lengths).gather(1, slot), 0)
    return torch.where(is_token, slot, -1), token


__all__ = ["READING_TASKS", "ComicPageTextReader", "texts_of"]
