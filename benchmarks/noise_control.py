"""What a contrastive objective learns from pages of pure noise, where there is nothing to learn.

Every page is drawn anew from a normal distribution, panel by panel, so that its panels have nothing in common and no page
comes twice. An objective that gets better on such pages rewards the encoder for stamping a page's mark on its panels.

    python -m benchmarks.noise_control

Prints, for each objective, the loss before and after training, its lowest possible value, how much of the way it went,
the cosine of panels of one page after the encoder, and how often half a page finds its other half among 256.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining

OBJECTIVES = ("views", "nt_xent", "cohesion")


def strips(objective: str, pages: int, panels: int, width: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """What the objective compares: two halves of every page, or whole pages."""
    vectors = torch.randn(pages, panels, width, generator=generator)
    numbers = torch.arange(pages)
    if objective == "views":
        return {"panel_embeddings": torch.cat(vectors.split(panels // 2, dim=1)), "labels": numbers.repeat(2)}
    return {"panel_embeddings": vectors, "labels": numbers}


@torch.no_grad()
def judge(model: ComicSeqForPreTraining, objective: str, options: argparse.Namespace) -> tuple[float, float, float]:
    """Mean loss on new pages, cosine of the panels of a page, and how often half a page finds its other half."""
    model.eval()
    generator = torch.Generator().manual_seed(1)
    size = (options.panels, options.width, generator)
    losses = [model(**strips(objective, options.batch_size, *size)).contrastive_loss for _ in range(20)]
    pages = strips("nt_xent", 256, *size)["panel_embeddings"]
    states = torch.nn.functional.normalize(model.comicseq(pages).last_hidden_state, dim=-1)
    off_diagonal = ~torch.eye(options.panels, dtype=torch.bool)
    cosine = (states @ states.transpose(1, 2))[:, off_diagonal].mean().item()
    halves = [model.comicseq(half).strip_embedding for half in pages.split(options.panels // 2, dim=1)]
    first, second = (torch.nn.functional.normalize(half, dim=-1) for half in halves)
    found = (first @ second.T).argmax(1) == torch.arange(len(first))
    model.train()
    return float(torch.stack(losses).mean()), cosine, found.float().mean().item()


def floor(objective: str, options: argparse.Namespace) -> float:
    """The lowest value the loss can take: all panels of a page alike, and pages as far apart as they can be."""
    pages, mates = options.batch_size, 1 if objective == "views" else options.panels - 1
    if objective == "cohesion":
        return 0.0
    rows = torch.arange(pages).repeat_interleave(mates + 1)
    same = (rows[:, None] == rows).float()
    cosine = same - (1 - same) / (pages - 1)  # a simplex: no vectors are further apart on average
    vectors = (cosine / 0.07).masked_fill(torch.eye(len(rows), dtype=torch.bool), -torch.inf)
    chosen = same.bool() & ~torch.eye(len(rows), dtype=torch.bool)
    return -vectors.log_softmax(-1)[chosen].mean().item()


def main() -> None:
    """Parses the arguments, trains the three encoders and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=64, help="pages of a step")
    parser.add_argument("--panels", type=int, default=6, help="panels of a page, an even number")
    parser.add_argument("--width", type=int, default=64, help="width of the panel vectors")
    options = parser.parse_args()
    table = Table(title=f"pages of pure noise, {options.steps} steps of {options.batch_size} pages")
    for column in ("objective", "loss before", "after", "lowest", "of the way", "cosine in a page", "finds its half"):
        table.add_column(column, justify="right")
    for objective in OBJECTIVES:
        torch.manual_seed(0)
        config = ComicSeqConfig(
            panel_embedding_dim=options.width,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            contrastive_objective=objective,
        )
        model = ComicSeqForPreTraining(config)
        before, _, _ = judge(model, objective, options)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        for _ in track(range(options.steps), objective, console=Console(stderr=True)):
            batch = strips(objective, options.batch_size, options.panels, options.width, generator)
            optimizer.zero_grad()
            model(**batch).contrastive_loss.backward()
            optimizer.step()
        after, cosine, found = judge(model, objective, options)
        lowest = floor(objective, options)
        way = (before - after) / (before - lowest)
        cells = [f"{before:.3f}", f"{after:.3f}", f"{lowest:.3f}", f"{100 * way:.0f} %", f"{cosine:.2f}"]
        table.add_row(objective, *cells, f"{100 * found:.1f} % (chance 0.4 %)")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
