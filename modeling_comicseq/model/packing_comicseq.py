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


def packed_places(real: torch.Tensor, row_length: int) -> tuple[torch.Tensor, int]:
    """
    Packs the `real` tokens (B, L) into rows of `row_length` that they share, at least L. Returns where each of them stands
    in these rows laid end to end `(M,)`, and the number of rows.
    """
    starts, num_rows = first_fit(real.sum(1).tolist(), row_length)
    places = torch.tensor(starts, dtype=torch.long, device=real.device)[:, None] + real.cumsum(1) - 1
    return places[real], max(num_rows, 1)  # a process can be left without a page


@dataclass
class ComicSeqView:
    """
    Rows of tokens on their way through the encoder: the panels of the context, then the candidates.

    Attributes:
        tokens: Embedded tokens `(B, N + K, D)`.
        real: Which of them are no padding `(B, N + K)`.
        visible: Which of them other tokens attend to `(B, N + K)`. Every token attends to itself besides.
        panel_mask: Which of the panels are real `(B, N)`.
        candidates: Embedded candidates `(B, K, D)` that stay outside the encoder (`candidate_encoding="independent"`).
    """

    tokens: torch.Tensor
    real: torch.Tensor
    visible: torch.Tensor
    panel_mask: torch.Tensor
    candidates: torch.Tensor | None = None

    def split(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Splits encoded rows (at least N + K wide) into contextualised panels and candidates."""
        num_panels, num_tokens = self.num_panels, self.tokens.shape[1]
        candidates = hidden_states[:, num_panels:num_tokens] if num_tokens > num_panels else self.candidates
        return hidden_states[:, :num_panels], candidates

    @property
    def num_panels(self) -> int:
        return self.panel_mask.shape[1]
