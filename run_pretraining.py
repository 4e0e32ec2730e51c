"""Pretrains ComicSeq on a converted data set, or on Stage 3 stores.

accelerate launch run_pretraining.py configuration/pretraining/demo.yaml --dataset DIR --output_dir DIR
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from transformers.trainer_utils import set_seed

from modeling_comicseq.checkpoints.opening import MODEL_FIELDS, check_fits, read_config
from modeling_comicseq.errors import ComicSeqDataError, ComicSeqError
from modeling_comicseq.model.configuration_comicseq import ComicSeqConfig
from modeling_comicseq.training.arguments import PretrainingArguments, parse_arguments
from modeling_comicseq.training.checkpointing import incomplete_checkpoints, is_complete, last_checkpoint
from modeling_comicseq.training.dataset import PretrainingDataset
from modeling_comicseq.training.faults import TrainingStopped, saving, stopped_in_one_sentence
from modeling_comicseq.training.model import build_model
from modeling_comicseq.training.stores import open_data
from modeling_comicseq.training.trainer import ComicSeqTrainer


def find_checkpoint(arguments: PretrainingArguments, config: ComicSeqConfig) -> str | None:
    """The checkpoint to resume from: the one named, else the last complete one, unless `--restart` is given.

    Raises:
        ComicSeqDataError: If the one named is not complete, or the checkpoint is of another run.
    """
    checkpoint = arguments.resume_from_checkpoint
    if not checkpoint:
        last = last_checkpoint(arguments.output_dir)
        if arguments.restart or last is None:
            return None
        checkpoint = str(last)
    if not is_complete(checkpoint) or not Path(checkpoint, "scheduler.pt").is_file():
        raise ComicSeqDataError(
            f"{checkpoint} is no complete checkpoint of a run: name another, or train anew with --restart."
        )
    saved = read_config(checkpoint)
    for name in MODEL_FIELDS:
        if getattr(saved, name) != getattr(config, name):
            raise ComicSeqDataError(
                f"{checkpoint} is of another run: its `{name}` is {getattr(saved, name)!r}, not {getattr(config, name)!r}."
                " Give another --output_dir, or train anew with --restart."
            )
    return checkpoint


def main(argv: list[str] | None = None) -> None:
    """Trains, as the arguments say, and leaves the model in `output_dir`.

    Raises:
        ComicSeqDataError: If the arguments or the data cannot be used.
        TrainingStopped: If the run cannot go on.
    """
    arguments = parse_arguments(argv)
    if arguments.dataset is None and arguments.train_embeddings is None:
        raise ComicSeqDataError(
            "`dataset` is not set: name the folder that `comicseq convert` wrote, or a store with `train_embeddings` and"
            " `train_metadata`."
        )
    train_table, validation_table = open_data(arguments)
    set_seed(arguments.seed)  # before the weights are drawn
    model = build_model(arguments, train_table)
    validated = arguments.dataset or arguments.val_embeddings or arguments.train_embeddings
    check_fits(model.config, arguments.model, validation_table, str(validated))
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
    console = Console(quiet=not trainer.is_world_process_zero(), soft_wrap=True)
    for folder in incomplete_checkpoints(arguments.output_dir):
        console.print(f"{folder} is not complete: its saving was broken off. It is passed over.")
    if checkpoint is not None:
        console.print(f"Resuming from {checkpoint} (train anew with --restart).")
    with stopped_in_one_sentence(arguments):
        trainer.train(resume_from_checkpoint=checkpoint)
        folder = Path(str(arguments.output_dir))
        with saving(folder, folder, partial=folder / "_saving"):
            trainer.save_state()
            trainer.save_model(_internal_call=True)  # the upload comes when the card is written
            trainer.create_model_card()
        if arguments.push_to_hub:
            trainer.push_to_hub()
    console.print(
        f"Saved to {arguments.output_dir}: load it with AutoModel.from_pretrained({arguments.output_dir!r}).",
    )


def run() -> int | str | None:
    """What the process ends with: nothing, or one sentence that says what is wrong."""
    is_main = os.environ.get("RANK", "0") == "0"
    try:
        main()
    except ComicSeqError as error:
        return f"run_pretraining.py: {error}"
    except TrainingStopped as error:
        if is_main or not error.everywhere:
            print(f"\nrun_pretraining.py: {error}", file=sys.stderr)  # below the progress bar
        return error.exit_code
    except KeyboardInterrupt:
        if is_main:
            print("run_pretraining.py: Interrupted.", file=sys.stderr)
        return 130
    return None


if __name__ == "__main__":
    sys.exit(run())
