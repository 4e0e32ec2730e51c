"""Pretrains ComicSeq on a converted data set.

accelerate launch run_pretraining.py configuration/pretraining/demo.yaml --dataset DIR --output_dir DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from transformers.trainer_utils import get_last_checkpoint, set_seed

from modeling_comicseq.checkpoints import MODEL_FIELDS, check_fits, read_config
from modeling_comicseq.configuration_comicseq import ComicSeqConfig
from modeling_comicseq.data.errors import ComicSeqDataError
from modeling_comicseq.data.opening import open_split
from modeling_comicseq.training.arguments import PretrainingArguments, parse_arguments
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.model import build_model
from modeling_comicseq.training.trainer import ComicSeqTrainer


def find_checkpoint(arguments: PretrainingArguments, config: ComicSeqConfig) -> str | None:
    """The checkpoint to resume from: the one named, else the last in `output_dir`, unless `--restart` is given."""
    checkpoint = arguments.resume_from_checkpoint
    if not checkpoint:
        if arguments.restart or not Path(arguments.output_dir).is_dir():
            return None
        checkpoint = get_last_checkpoint(arguments.output_dir)
        if checkpoint is None:
            return None
    if not Path(checkpoint, "trainer_state.json").is_file():
        raise ComicSeqDataError(
            f"{checkpoint} is no checkpoint of a run: name a whole one, or train anew with --restart."
        )
    saved = read_config(checkpoint)
    for name in MODEL_FIELDS:
        if getattr(saved, name) != getattr(config, name):
            raise ComicSeqDataError(
                f"{checkpoint} is of another run: its `{name}` is {getattr(saved, name)!r}, not {getattr(config, name)!r}."
                " Give another --output_dir, or train anew with --restart."
            )
    return checkpoint


def main() -> None:
    arguments = parse_arguments()
    if arguments.dataset is None:
        raise ComicSeqDataError("`dataset` is not set: name the folder that `comicseq convert` wrote.")
    set_seed(arguments.seed)  # before the weights are drawn
    train_table = open_split(arguments.dataset, "train")
    validation_table = open_split(arguments.dataset, "validation")
    model = build_model(arguments, train_table)
    check_fits(model.config, arguments.model, validation_table, arguments.dataset)
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
    checkpoint = find_checkpoint(arguments, model.config)
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
        f"Saved to {arguments.output_dir}: load it with AutoModel.from_pretrained({arguments.output_dir!r}).",
        soft_wrap=True,
    )


if __name__ == "__main__":
    try:
        main()
    except ComicSeqDataError as error:
        sys.exit(f"run_pretraining.py: {error}")
