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
"""From pairwise scores of panels to the best reading order."""

import torch


def best_orders(scores: torch.Tensor, attention_mask: torch.Tensor, target: str) -> torch.Tensor:
    """
    The order of each page's panels with the highest total score, `(B, N)`, -1 behind the last panel.

    Args:
        scores: Entry (i, j) of (B, N, N) says how well j follows i: directly (`"adjacency"`) or anywhere (`"precedence"`).
        attention_mask: 1 for a real panel `(B, N)`.
        target: `"adjacency"` or `"precedence"`.

    Raises:
        ValueError: A score of a real panel is NaN or infinite.
    """
    mask = attention_mask.bool()
    orders = torch.full_like(mask, -1, dtype=torch.long)
    for count in mask.sum(1).unique().tolist():
        rows = (mask.sum(1) == count).nonzero()[:, 0]
        slots = mask[rows].nonzero()[:, 1].view(-1, count)
        pages = scores[rows[:, None, None], slots[:, :, None], slots[:, None]].float()
        if not pages.isfinite().all():
            raise ValueError(
                f"The reading-order scores of row {int(rows[(~pages.isfinite()).flatten(1).any(1)][0])} hold NaN or"
                " infinity, so that it has no order: look for such numbers in the panel vectors and in the weights, or"
                " take float32 where half precision is too small."
            )
        if count <= 12:
            best = exact_orders(pages, target)
        else:
            best = torch.tensor([long_order(page, target) for page in pages.cpu()], device=scores.device)
        orders[rows, :count] = slots.gather(1, best)
    return orders


def long_order(scores: torch.Tensor, target: str) -> list[int]:
    """
    The order of a page of more than 12 panels. Where each of some panels precedes each of all others by the scores, so they
    do in the best order (Truchon, 1998, an extension of the Condorcet criterion): for `"precedence"`, a page falls into
    parts that are ordered by themselves, exactly up to 12 panels. Longer parts, and pages for `"adjacency"`, by a beam.
    """
    parts = [torch.arange(len(scores))] if target == "adjacency" else parts_in_order(scores)
    order = []
    for part in parts:
        inner = scores[part[:, None], part]
        best = exact_orders(inner[None], target)[0] if len(part) <= 12 else beam_order(inner.tolist(), target)
        order += part[best].tolist()
    return order


def parts_in_order(scores: torch.Tensor) -> list[torch.Tensor]:
    """The smallest parts of a page such that each panel of one precedes each of all later ones by the scores (N, N)."""
    num_panels = len(scores)
    preceded = ((scores - scores.T).sign() + 1).sum(1) / 2 - 0.5  # how many panels each precedes, half for a tie
    sorted_panels = preceded.argsort(descending=True, stable=True)
    first = torch.arange(1, num_panels + 1)
    most = first * (first - 1) / 2 + first * (num_panels - first)  # if the first so many precede all others
    ends = (preceded[sorted_panels].cumsum(0) == most).nonzero()[:, 0] + 1
    return list(sorted_panels.tensor_split(ends[:-1]))


def exact_orders(scores: torch.Tensor, target: str) -> torch.Tensor:
    """Best orders `(B, N)` for full pages `scores` (B, N, N), over all (set placed, last panel) as in Held and Karp (1962)."""
    batch_size, num_panels, _ = scores.shape
    panels = torch.arange(num_panels, device=scores.device)
    sets = torch.arange(1 << num_panels, device=scores.device)
    members = (sets[:, None] >> panels) & 1
    sizes = members.sum(1)
    after_set = members.to(scores.dtype) @ scores  # (B, sets, N): what a panel gains behind all of a set
    total = scores.new_full((batch_size, len(sets), num_panels), -torch.inf)
    total[:, 1 << panels, panels] = 0.0
    previous = torch.zeros_like(total, dtype=torch.long)
    for size in range(1, num_panels):
        for panel in range(num_panels):
            placed = sets[(sizes == size) & (members[:, panel] == 0)]
            if target == "adjacency":
                best, last = (total[:, placed] + scores[:, None, :, panel]).max(-1)
            else:
                best, last = total[:, placed].max(-1)
                best = best + after_set[:, placed, panel]
            total[:, placed | 1 << panel, panel] = best
            previous[:, placed | 1 << panel, panel] = last

    rows = torch.arange(batch_size, device=scores.device)
    placed, panel = torch.full_like(rows, len(sets) - 1), total[:, -1].argmax(-1)
    order = [panel]
    for _ in range(num_panels - 1):
        placed, panel = placed ^ (1 << panel), previous[rows, placed, panel]
        order.insert(0, panel)
    return torch.stack(order, dim=1)


def beam_order(scores: list[list[float]], target: str, beam_width: int = 200) -> list[int]:
    """A good order of one page by a beam over (set placed, last panel), for pages too long to try all."""
    num_panels = len(scores)
    level: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {(0, -1): (0.0, ())}
    for _ in range(num_panels):
        following: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (placed, last), (total, order) in level.items():
            left = [panel for panel in range(num_panels) if not placed >> panel & 1]
            for panel in left:
                if target == "adjacency":
                    gain, state = scores[last][panel] if order else 0.0, (placed | 1 << panel, panel)
                else:  # counted where the earlier panel is placed: an order that begins wrong leaves the beam at once
                    gain = sum(scores[panel][later] for later in left if later != panel)
                    state = (placed | 1 << panel, -1)
                if state not in following or following[state][0] < total + gain:
                    following[state] = (total + gain, (*order, panel))
        level = dict(sorted(following.items(), key=lambda item: -item[1][0])[:beam_width])
    return list(max(level.values())[1])
