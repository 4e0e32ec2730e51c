"""The model card that every checkpoint carries as its README.md."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from ..model.configuration_comicseq import ComicSeqConfig


def write_card(
    template: Path,
    folder: str | Path,
    repo: str,
    config: ComicSeqConfig,
    metrics: dict[str, float],
    training_data: str,
) -> None:
    """Fills the card's template and writes it as `folder`/README.md.

    Args:
        template: The template, `model_card.md` at the top of the repository.
        folder: The checkpoint.
        repo: Where it will be loaded from: its name on the Hub, or the folder.
        config: Its configuration.
        metrics: Validation metrics of the run, `eval_TASK_accuracy` among them.
        training_data: One sentence about the data.
    """
    rows = [
        f"| {name.removeprefix('eval_').removesuffix('_accuracy')} | {100 * value:.1f} |"
        for name, value in sorted(metrics.items())
        if name.endswith("_accuracy")
    ]
    results = "\n".join(
        ["Validation accuracy in training (pairwise for reading_order), %:", "", "| task | % |", "|---|---|", *rows]
    )
    save_card(fill_card(template, repo, config, training_data, results if rows else None), folder)


def fill_card(
    template: Path, repo: str, config: ComicSeqConfig, training_data: str | None = None, results: str | None = None
) -> ModelCard:
    """The card's template with what is known filled in; arguments as in `write_card`, `results` in Markdown."""
    known = {"training_data": training_data, "results": results}
    return ModelCard.from_template(
        ModelCardData(
            license="apache-2.0",
            library_name="transformers",
            pipeline_tag="feature-extraction",
            tags=["comics", "comicseq", "panel-sequences"],
        ),
        template_str=template.read_text(encoding="utf-8"),
        model_name=Path(repo).name,
        repo=repo,
        panel_embedding_dim=config.panel_embedding_dim,
        max_position_embeddings=config.max_position_embeddings,
        **{name: value for name, value in known.items() if value is not None},
    )


def save_card(card: ModelCard, folder: str | Path) -> None:
    """Writes a card as `folder`/README.md, beside its target first and then in its place."""
    beside = Path(folder) / f".README.{os.getpid()}.partial"
    try:
        card.save(beside)
        os.replace(beside, Path(folder) / "README.md")
    finally:
        beside.unlink(missing_ok=True)
