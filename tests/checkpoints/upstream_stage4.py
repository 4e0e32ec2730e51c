"""The original Stage 4 model out of torch's own modules, as its checkpoints describe it: the reference of the import."""

import argparse
import math

import torch
from torch import nn

NHEAD = 4


class PositionalEncoding(nn.Module):
    def __init__(self, width: int, length: int):
        super().__init__()
        position = torch.arange(length).unsqueeze(1)
        frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        pe = torch.zeros(1, length, width)
        pe[0, :, 0::2] = torch.sin(position * frequency)
        pe[0, :, 1::2] = torch.cos(position * frequency)
        self.register_buffer("pe", pe)

    def forward(self, panels):
        return panels + self.pe[:, : panels.shape[1]]


class SequenceTransformer(nn.Module):
    def __init__(self, width: int, layers: int, feedforward: int, length: int):
        super().__init__()
        self.strip_query = nn.Parameter(torch.randn(1, 1, width))
        self.pos_encoder = PositionalEncoding(width, length)
        layer = nn.TransformerEncoderLayer(
            width, NHEAD, feedforward, activation="relu", batch_first=True, norm_first=True
        )
        self.transformer_encoder = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.strip_aggregator = nn.MultiheadAttention(width, NHEAD, batch_first=True)

    def forward(self, panels, mask):
        panels = self.transformer_encoder(self.pos_encoder(panels), src_key_padding_mask=~mask)
        query = self.strip_query.expand(len(panels), -1, -1)
        strip, _ = self.strip_aggregator(query, panels, panels, key_padding_mask=~mask)
        return panels, strip[:, 0]


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with GELU between them and a dropout behind the first."""
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        layers += [nn.Linear(before, after)]
        if place < len(sizes) - 2:
            layers += [nn.GELU()] + ([nn.Dropout(0.1)] if place == 0 else [])
    return nn.Sequential(*layers)


def head(**modules: nn.Module) -> nn.Module:
    holder = nn.Module()
    for name, module in modules.items():
        holder.add_module(name, module)
    return holder


class UpstreamModel(nn.Module):
    def __init__(self, width: int = 24, layers: int = 3, feedforward: int = 40, length: int = 10):
        super().__init__()
        self.sequence_transformer = SequenceTransformer(width, layers, feedforward, length)
        self.panel_picking_head = head(scorer=mlp(2 * width, width, 1))
        self.character_coherence_head = head(consistency_scorer=mlp(2 * width, width, 1))
        self.visual_closure_head = head(closure_net=mlp(2 * width, width, width, 1))
        self.text_closure_head = head(closure_net=mlp(2 * width, width, width, 1))
        self.caption_relevance_head = head(relevance_scorer=nn.Bilinear(width, width, 1))
        self.text_cloze_head = head(
            context_encoder=mlp(2 * width, width, width), text_scorer=nn.Bilinear(width, width, 1)
        )
        self.reading_order_head = head(order_scorer=nn.Bilinear(width, width, 1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)
        self.eval()

    @torch.no_grad()
    def outputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """All that `reference.npz` holds, from `panel_embeddings`, `panel_mask`, `context`, `candidates` and `text`."""
        panels, context, candidates = inputs["panel_embeddings"], inputs["context"], inputs["candidates"]
        contextualized, strip = self.sequence_transformer(panels, inputs["panel_mask"].bool())
        each = candidates.unbind(1)
        last = panels[:, -1]

        def scores(net, left):
            return torch.cat([net(torch.cat((left, candidate), dim=-1)) for candidate in each], dim=1)

        encoded = self.text_cloze_head.context_encoder(torch.cat((context, inputs["text"]), dim=-1))
        order = torch.zeros(len(panels), panels.shape[1], panels.shape[1])
        for i in range(panels.shape[1]):
            for j in range(panels.shape[1]):
                if i != j:
                    order[:, i, j] = self.reading_order_head.order_scorer(panels[:, i], panels[:, j])[:, 0]
        coherence = self.character_coherence_head.consistency_scorer(torch.cat((panels.mean(1), context), dim=-1))
        return {
            "contextualized_panels": contextualized,
            "strip_embedding": strip,
            "panel_picking_scores": scores(self.panel_picking_head.scorer, context),
            "character_coherence_score": coherence[:, 0],
            "visual_closure_scores": scores(self.visual_closure_head.closure_net, last),
            "text_closure_scores": scores(self.text_closure_head.closure_net, last),
            "caption_relevance_score": self.caption_relevance_head.relevance_scorer(context, inputs["text"])[:, 0],
            "text_cloze_scores": torch.cat([self.text_cloze_head.text_scorer(encoded, text) for text in each], dim=1),
            "reading_order_scores": order,
        }


def upstream_inputs(width: int = 24, length: int = 10) -> dict[str, torch.Tensor]:
    """Pages of 1 to `length` panels with garbage in the padded slots, and raw vectors for the heads."""
    counts = torch.tensor([length, 1, 4, 7])
    return {
        "panel_embeddings": torch.randn(4, length, width),
        "panel_mask": torch.arange(length) < counts[:, None],
        "context": torch.randn(4, width),
        "candidates": torch.randn(4, 5, width),
        "text": torch.randn(4, width),
    }


def upstream_checkpoint(model: nn.Module) -> dict:
    """What the original training saves, with an optimiser's state."""
    optimizer = torch.optim.AdamW(model.parameters())
    return {
        "epoch": 3,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": torch.optim.lr_scheduler.ConstantLR(optimizer).state_dict(),
        "val_loss": 0.5,
        "args": vars(argparse.Namespace(nhead=NHEAD, dropout=0.2, max_panels=10)),
    }
