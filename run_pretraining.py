"""Pretrains ComicSeq on a converted data set.

accelerate launch run_pretraining.py configuration/pretraining/demo.yaml --dataset DIR --output_dir DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from datasets import Dataset, load_from_disk
from rich.console import Console
from transformers.trainer_utils import get_last_checkpoint, set_seed

from modeling_comicseq import ComicSeqConfig, ComicSeqForPreTraining
from modeling_comicseq.data.errors import ComicSeqDataError
from modeling_comicseq.data.panels import PanelTable
from modeling_comicseq.training.arguments import PretrainingArguments, parse_arguments
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.trainer import ComicSeqTrainer


def open_split(folder: str, split: str) -> Dataset:
    """Opens one split of the data set in `folder`."""
    try:
        splits = load_from_disk(folder)
    except FileNotFoundError:
        raise ComicSeqDataError(
            f"{folder} is no data set: write one with `comicseq convert --output {folder}`."
        ) from None
    if split not in splits:
        raise ComicSeqDataError(f"{folder} has no split {split!r} but {', '.join(splits)}: convert the store again.")
    return splits[split]


def build_model(arguments: PretrainingArguments, table: PanelTable) -> ComicSeqForPreTraining:
    """A new model as wide as the data set's vectors, or the checkpoint that `--model` names, with the overrides."""
    config = ComicSeqConfig.from_pretrained(arguments.model)
    is_new = arguments.model.endswith(".json")
    overrides = arguments.config_fields()
    if "task_weights" in overrides:
        overrides["task_weights"] = config.task_weights | overrides["task_weights"]
    widths = {column.removesuffix("_embeddings") + "_embedding_dim": width for column, width in table.widths.items()}
    if is_new:
        overrides = widths | overrides
    # Built anew, so that the overridden configuration is checked as a whole.
    config = ComicSeqConfig.from_dict(config.to_dict() | overrides)
    for field, width in widths.items():
        if getattr(config, field) != width:
            raise ComicSeqDataError(
                f"`{field}` of {arguments.model} is {getattr(config, field)} but the vectors of {arguments.dataset} are"
                f" {width} wide: use a model of that width."
            )
    if is_new:
        return ComicSeqForPreTraining(config)
    return ComicSeqForPreTraining.from_pretrained(arguments.model, config=config)


def find_checkpoint(arguments: PretrainingArguments) -> str | None:
    """The checkpoint to resume from: the one named, else the last in `output_dir`, unless `--restart` is given."""
    if arguments.resume_from_checkpoint:
        return arguments.resume_from_checkpoint
    if arguments.restart or not Path(arguments.output_dir).is_dir():
        return None
    return get_last_checkpoint(arguments.output_dir)


def main() -> None:
    arguments = parse_arguments()
    if arguments.dataset is None:
        raise ComicSeqDataError("`dataset` is not set: name the folder that `comicseq convert` wrote.")
    set_seed(arguments.seed)  # before the weights are drawn
    train_table = PanelTable(open_split(arguments.dataset, "train"))
    validation_table = PanelTable(open_split(arguments.dataset, "validation"))
    model = build_model(arguments, train_table)
    dataset = PretrainingDataset(
        train_table, model.config, arguments.num_candidates, arguments.protocol, seed=arguments.seed
    )
    trainer = ComicSeqTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        validation_table=validation_table,
        num_candidates=arguments.num_candidates,
        card_template=Path(__file__).with_name("model_card.md"),
        training_data=f"{len(train_table):,} pages of {len(train_table.book_ids):,} books.",
    )
    checkpoint = find_checkpoint(arguments)
    console = Console(quiet=not trainer.is_world_process_zero())
    if checkpoint is not None:
        console.print(f"Resuming from {checkpoint} (train anew with --restart).")
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    trainer.save_state()
    trainer.create_model_card()
    if arguments.push_to_hub:
        trainer.push_to_hub()
    console.print(
        f"Saved to {arguments.output_dir}: load it with AutoModel.from_pretrained({arguments.output_dir!r})."
    )


if __name__ == "__main__":
    try:
        main()
    except ComicSeqDataError as error:
        sys.exit(f"run_pretraining.py: {error}")
