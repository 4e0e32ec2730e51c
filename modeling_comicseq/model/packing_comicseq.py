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
"""Rows of tokens on their way through the encoder, padded to one length or packed several to a row."""

from dataclasses import dataclass

import torch


def pad_and_concatenate(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Concatenates tensors `(B, L, ...)` of several lengths along the batch, padded with zeros to the longest."""
    length = max(tensor.shape[1] for tensor in tensors)
    padded = [
        torch.cat((t, t.new_zeros(t.shape[0], length - t.shape[1], *t.shape[2:])), dim=1) if t.shape[1] < length else t
        for t in tensors
    ]
    return padded[0] if len(padded) == 1 else torch.cat(padded)


def first_fit(lengths: list[int], row_length: int) -> tuple[list[int], int]:
    """
    Packs pieces into rows, longest first, each into the fullest row that has room. Returns where each piece starts in
    the rows laid end to end, and the number of rows.
    """
    starts, num_rows = [0] * len(lengths), 0
    rows_with_room: list[list[int]] = [[] for _ in range(row_length + 1)]
    for piece in sorted(range(len(lengths)), key=lambda piece: -lengths[piece]):
        room = next((room for room in range(lengths[piece], row_length + 1) if rows_with_room[room]), None)
        if room is None:
            row, room, num_rows = num_rows, row_length, num_rows + 1
        else:
            row = rows_with_room[room].pop()
        starts[piece] = (row + 1) * row_length - room
        rows_with_room[room - lengths[piece]].append(row)
    return starts, num_rows


@dataclass
class ComicSeqView:
    """
    Rows of tokens on their way through the encoder: the panels of the context, then the candidates. Each of them is one
    token, or two that stand side by side (its picture and its text, where streams are separate).

    Attributes:
        tokens: Embedded tokens `(B, L, D)`, L = N + K where all panels and candidates are one token.
        real: Which of them are no padding `(B, L)`.
        visible: Which of them other tokens attend to `(B, L)`. Every token attends to itself besides, and the two of one
            candidate to each other.
        panel_mask: Which of the panels are real `(B, N)`.
        candidates: Embedded candidates `(B, K, D)` that stay outside the encoder (`candidate_encoding="independent"`).
        tokens_a_panel: Tokens of each panel.
        tokens_a_candidate: Tokens of each candidate.
    """

    tokens: torch.Tensor
    real: torch.Tensor
    visible: torch.Tensor
    panel_mask: torch.Tensor
    candidates: torch.Tensor | None = None
    tokens_a_panel: int = 1
    tokens_a_candidate: int = 1

    @classmethod
    def of_panels(cls, tokens: torch.Tensor, real: torch.Tensor, panel_mask: torch.Tensor) -> "ComicSeqView":
        """Panels (B, N) without candidates, from the tokens (B, N, S, D) of each and which of them are real (B, N, S)."""
        each, tokens, real = tokens.shape[2], tokens.flatten(1, 2), real.flatten(1, 2)
        return cls(tokens, real, real, panel_mask, tokens_a_panel=each)

    def split(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Splits encoded rows (at least L wide) into contextualised panels and candidates, one state each."""
        num_panels, num_tokens = self.num_panel_tokens, self.tokens.shape[1]
        panels = self.merge(hidden_states, self.tokens_a_panel, 0, num_panels)
        if num_tokens == num_panels:
            return panels, self.candidates
        return panels, self.merge(hidden_states, self.tokens_a_candidate, num_panels, num_tokens)

    def merge(self, hidden_states: torch.Tensor, tokens_each: int, first: int, end: int) -> torch.Tensor:
        """The states of the tokens from `first` to below `end`: of several `tokens_each`, the mean of the real ones."""
        states = hidden_states[:, first:end]
        if tokens_each == 1:
            return states
        real = self.real[:, first:end].unflatten(1, (-1, tokens_each))[..., None]
        states = states.unflatten(1, (-1, tokens_each))
        return torch.where(real, states, torch.zeros_like(states)).sum(2) / real.sum(2).clamp(min=1)

    @property
    def num_panel_tokens(self) -> int:
        return self.panel_mask.shape[1] * self.tokens_a_panel

    @property
    def is_grouped(self) -> bool:
        """Whether a candidate is several tokens, which attend to each other."""
        return self.tokens_a_candidate > 1 and self.tokens.shape[1] > self.num_panel_tokens

    @property
    def groups(self) -> torch.Tensor:
        """Number of the panel or candidate that each token belongs to, from 1; 0 for what is no token `(B, L)`."""
        places = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        panels, candidates = places // self.tokens_a_panel, places - self.num_panel_tokens
        behind = self.panel_mask.shape[1] + candidates // self.tokens_a_candidate
        return torch.where(self.real, torch.where(candidates < 0, panels, behind) + 1, 0)


@dataclass
class ComicSeqPacking:
    """
    Where the real tokens of several views go in rows that they share.

    Attributes:
        real: Which tokens of the concatenated views are no padding `(B, L)`.
        place: Where each of them stands in the packed rows laid end to end `(M,)`.
        num_rows: Number of packed rows.
        row_length: Length of a packed row: that of the longest row of tokens at least.
    """

    real: torch.Tensor
    place: torch.Tensor
    num_rows: int
    row_length: int

    @classmethod
    def of(cls, views: list[ComicSeqView], row_length: int) -> "ComicSeqPacking":
        real = pad_and_concatenate([view.real for view in views])
        row_length = max(row_length, real.shape[1])
        starts, num_rows = first_fit(real.sum(1).tolist(), row_length)
        place = torch.tensor(starts, dtype=torch.long, device=real.device)[:, None] + real.cumsum(1) - 1
        return cls(real, place[real], max(num_rows, 1), row_length)  # a process can be left without a page

    def pack(self, tensor: torch.Tensor, fill: int = 0) -> torch.Tensor:
        """Rows `(num_rows, row_length, ...)` of the real tokens of the concatenated views' `tensor` (B, L, ...)."""
        rows = tensor.new_full((self.num_rows * self.row_length, *tensor.shape[2:]), fill)
        return rows.index_put((self.place,), tensor[self.real]).view(self.num_rows, self.row_length, *tensor.shape[2:])

    def unpack(self, rows: torch.Tensor) -> torch.Tensor:
        """The tokens `(B, L, D)` from packed rows, with zeros for padding."""
        tokens = rows.new_zeros(*self.real.shape, rows.shape[-1])
        return tokens.index_put((self.real,), rows.flatten(0, 1)[self.place])

    @property
    def padding_share(self) -> float:
        return 1 - len(self.place) / max(self.num_rows * self.row_length, 1)
