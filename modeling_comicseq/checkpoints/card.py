"""The model card that every checkpoint carries as its README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..files import written_file
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.tasks_comicseq import TASKS
from ..resources import model_card_template
from .opening import read_config
from .provenance import read_training_provenance

BEGIN, END = "<!-- results: run_eval.py writes between these lines -->", "<!-- end of results -->"
METADATA: dict[str, Any] = {
    "library_name": "transformers",
    "pipeline_tag": "feature-extraction",
    "tags": ["comics", "comicseq", "panel-sequences"],
}


def write_card(
    folder: str | Path, repo: str, config: ComicSeqConfig, metrics: dict[str, float], books: int, training_data: str
) -> None:
    """Fills the card's template and writes it as `folder`/README.md.

    Args:
        folder: The checkpoint.
        repo: Where it will be loaded from: its name on the Hub, or the folder.
        config: Its configuration.
        metrics: Validation metrics of the run, `eval_TASK_accuracy` among them.
        books: How many books they are from.
        training_data: One sentence about the data.
    """
    rows = [
        f"| {name.removeprefix('eval_').removesuffix('_accuracy')} | {100 * value:.1f} |"
        for name, value in sorted(metrics.items())
        if name.endswith("_accuracy")
    ]
    title = f"Validation accuracy in training over {books:,} books (pairwise for reading_order), %:"
    results = "\n".join([title, "", "| task | % |", "|---|---|", *rows])
    _save(_fill(repo, config, training_data, results if rows else None), folder)


def put_results(folder: Path, table: str, eval_results: Sequence[EvalResult]) -> None:
    """Writes results onto the card in a checkpoint's folder, made from the template where there is none.

    Only the results and the metadata about them change; what else was written on the card stays.

    Args:
        folder: The checkpoint.
        table: The results, in Markdown.
        eval_results: The results as metadata that the Hub reads; their `dataset_type` is "comicseq".
    """
    if (folder / "README.md").is_file():
        card = ModelCard.load(folder / "README.md")
    else:
        counts = read_training_provenance(str(folder)).get("counts", {}).get("train")
        data = f"{counts['pages']:,} pages of {counts['books']:,} books." if counts else None
        card = _fill(str(folder), read_config(str(folder)), data, None)
    before, begin, rest = card.text.partition(BEGIN)
    if begin and END in rest:
        card.text = f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"
    else:
        card.text = f"{card.text.rstrip()}\n\n## Results\n\n{BEGIN}\n{table}\n{END}\n"
    kept = [result for result in card.data.eval_results or [] if result.dataset_type != "comicseq"]
    card.data.model_name = folder.resolve().name
    card.data.eval_results = [*kept, *eval_results]
    _save(card, folder)


def _fill(repo: str, config: ComicSeqConfig, training_data: str | None, results: str | None) -> ModelCard:
    known = {"training_data": training_data, "results": results}
    return ModelCard.from_template(
        ModelCardData(license="apache-2.0", **METADATA),
        template_str=model_card_template().read_text(encoding="utf-8"),
        model_name=Path(repo).name,
        repo=repo,
        panel_embedding_dim=config.panel_embedding_dim,
        halves=(config.visual_embedding_dim, config.text_embedding_dim) if config.has_streams else None,
        max_position_embeddings=config.max_position_embeddings,
        box_embedding=config.box_embedding,
        tasks=TASKS.values(),
        **{name: value for name, value in known.items() if value is not None},
    )


def _save(card: ModelCard, folder: str | Path) -> None:
    with written_file(Path(folder) / "README.md") as beside:
        card.save(beside)
