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
"""Losses: of the questions, and the contrastive ones of pretraining, the same in one process as in many."""

import torch
import torch.distributed
from torch import nn

from .checks_comicseq import as_index, check_shape, check_values
from .heads_comicseq import single_or_double, take_slot


def choice_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each question `(B,)`: one of the candidates (B, K) is right; label -100 is ignored."""
    check_shape("labels", labels, logits.shape[0])
    labels = as_index("labels", labels)
    num_candidates = logits.shape[1]
    in_range = ((labels >= 0) & (labels < num_candidates)) | (labels == -100)
    check_values(
        in_range, f"`labels` must be from 0 to below {num_candidates}, the number of candidates, or -100", labels
    )
    # Unequal, not greater: a NaN is no padded candidate.
    is_real = take_slot(logits, labels.clamp(0, num_candidates - 1)) != torch.finfo(logits.dtype).min
    check_values(is_real | (labels == -100), "`labels` must not be a padded candidate", labels)
    return nn.functional.cross_entropy(single_or_double(logits), labels, reduction="none", ignore_index=-100)


def binary_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy `(B,)` of each row's `logits` (B, ...) where its label is not -100."""
    check_shape("labels", labels, *logits.shape)
    check_values((labels == 0) | (labels == 1) | (labels == -100), "`labels` must be 0, 1 or -100", labels)
    is_real = logits != torch.finfo(logits.dtype).min
    check_values(is_real | (labels == -100), "`labels` must be -100 at padded candidates", labels)
    counted = (labels != -100).flatten(1)
    scores = torch.where(counted, single_or_double(logits).flatten(1), 0.0)
    targets = torch.where(counted, labels.flatten(1), 0).to(scores.dtype)
    losses = nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return torch.where(counted, losses, 0.0).sum(1) / counted.sum(1).clamp(min=1)


def gather_rows(rows: torch.Tensor) -> tuple[torch.Tensor, slice]:
    """
    Lays `rows` (M, ...) of all processes end to end. Returns them and where this process's own stand, which alone carry
    gradients. Every process must call it, if need be with no row.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return rows, slice(0, len(rows))
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(world_size)]
    torch.distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    counts = torch.cat(counts).tolist()
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows.detach()
    pieces = [torch.empty_like(padded) for _ in counts]
    torch.distributed.all_gather(pieces, padded)
    pieces = [piece[:count] for piece, count in zip(pieces, counts, strict=True)]
    pieces[rank] = rows
    start = sum(counts[:rank])
    return torch.cat(pieces), slice(start, start + len(rows))


def scale_gradient(loss: torch.Tensor) -> torch.Tensor:
    """
    For a loss that every process computes over the rows of all, each with gradients for its own: the mean over processes,
    which data-parallel training takes, then has the gradient of the one loss.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return loss
    return loss + (torch.distributed.get_world_size() - 1) * (loss - loss.detach())


def cosines(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Cosines `(M, K)` of `left` (M, D) and `right` (K, D) in full precision: a temperature enlarges what rounding does."""
    with torch.autocast(left.device.type, enabled=False):
        # Dropout can take everything from a strip of one panel. With no direction to learn, it must not get a gradient
        # of the reciprocal of a tiny eps, which clipping would then take away from all others.
        left, right = (nn.functional.normalize(single_or_double(each), dim=-1, eps=1e-2) for each in (left, right))
        return left @ right.T


def info_nce_loss(
    vectors: torch.Tensor, pages: torch.Tensor, books: torch.Tensor | None, temperature: float
) -> torch.Tensor:
    """
    InfoNCE (van den Oord et al., 2018) with several positives, as in NT-Xent (Chen et al., 2020): each of `vectors` (M, D)
    must find the others of its page (equal entry of `pages`) among those of other pages. Other pages of the same book
    (`books`) are no negatives: they are likely alike.
    """
    itself = torch.eye(len(pages), dtype=torch.bool, device=pages.device)
    positive = (pages[:, None] == pages) & ~itself
    ignored = itself if books is None else itself | ((books[:, None] == books) & ~positive)
    scores = (cosines(vectors, vectors) / temperature).masked_fill(ignored, torch.finfo(torch.float32).min)
    log_probability = torch.where(positive, scores.log_softmax(-1), 0.0).sum(-1) / positive.sum(-1).clamp(min=1)
    has_positive = positive.any(-1)
    return -torch.where(has_positive, log_probability, 0.0).sum() / has_positive.sum().clamp(min=1)


def cohesion_loss(vectors: torch.Tensor, pages: torch.Tensor) -> torch.Tensor:
    """One minus the mean cosine of `vectors` (M, D) of one page. Without negatives it is lowest when all are equal."""
    itself = torch.eye(len(pages), dtype=torch.bool, device=pages.device)
    pairs = (pages[:, None] == pages) & ~itself
    return 1 - torch.where(pairs, cosines(vectors, vectors), 0.0).sum() / pairs.sum().clamp(min=1)


def matching_losses(
    queries: torch.Tensor, keys: torch.Tensor, names: torch.Tensor, temperature: float
) -> torch.Tensor:
    """
    Cross-entropy `(M,)` of finding each query's own key among all `keys` (M, D) by cosine. Keys of the same name are one
    thing seen twice and no negatives of each other.
    """
    own = torch.arange(len(names), device=names.device)
    twice = (names[:, None] == names) & (own[:, None] != own)
    scores = (cosines(queries, keys) / temperature).masked_fill(twice, torch.finfo(torch.float32).min)
    return nn.functional.cross_entropy(scores, own, reduction="none")
