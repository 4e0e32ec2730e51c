"""A pretraining run from its arguments to its model: what `run_pretraining.py` and `comicseq pretrain` do."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from transformers.trainer_utils import set_seed
from transformers.utils import logging

from ..checkpoints.opening import MODEL_FIELDS, check_fits, open_checkpoint, read_config
from ..data.panels import PanelTable
from ..errors import ComicSeqArgumentError, ComicSeqDataError, ComicSeqError
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..resources import find_resource
from .arguments import PretrainingArguments, parse_arguments
from .checkpointing import incomplete_checkpoints, is_complete, last_checkpoint
from .dataset import PretrainingDataset
from .faults import TrainingStopped, saving, stopped_in_one_sentence
from .stores import open_data
from .trainer import ComicSeqTrainer


def pretrain(arguments: PretrainingArguments) -> None:
    """Trains, as the arguments say, and leaves the model in `output_dir`.

    Raises:
        ComicSeqError: If the arguments or the data cannot be used.
        TrainingStopped: If the run cannot go on.
    """
    if arguments.dataset is None and arguments.train_embeddings is None:
        raise ComicSeqArgumentError(
            "`dataset` is not set: name the folder that `comicseq convert` wrote, or a store with `train_embeddings` and"
            " `train_metadata`."
        )
    logging.disable_progress_bar()  # of transformers: files are written in no time
    train_table, validation_table = open_data(arguments)
    set_seed(arguments.seed)  # before the weights are drawn
    model = build_model(arguments, train_table)
    validated = arguments.dataset or arguments.val_embeddings or arguments.train_embeddings
    check_fits(model.config, arguments.model, validation_table, str(validated))
    dataset = PretrainingDataset(
        train_table, model.config, arguments.num_candidates, arguments.protocol, seed=arguments.seed
    )
    trainer = ComicSeqTrainer(model=model, args=arguments, train_dataset=dataset, validation_table=validation_table)
    checkpoint = find_checkpoint(arguments, model.config)
    console = Console(quiet=not trainer.is_world_process_zero(), soft_wrap=True)
    for incomplete in incomplete_checkpoints(arguments.output_dir):
        console.print(f"{incomplete} is not complete: its saving was broken off. It is passed over.")
    if checkpoint is not None:
        console.print(f"Resuming from {checkpoint} (train anew with --restart).")
    folder = Path(arguments.output_dir)
    with stopped_in_one_sentence(arguments):
        trainer.train(resume_from_checkpoint=checkpoint)
        with saving(folder, lambda: folder):
            trainer.save_state()
            trainer.save_model()
            trainer.create_model_card()
        if arguments.push_to_hub:
            trainer.push_to_hub()
    console.print(f"Saved to {folder}: load it with AutoModel.from_pretrained({arguments.output_dir!r}).")


def build_model(arguments: PretrainingArguments, table: PanelTable) -> ComicSeqForPreTraining:
    """A new model as wide as the data set's vectors, or the checkpoint that `--model` names, with the overrides.

    Raises:
        ComicSeqError: If the configuration, the checkpoint or an override is wrong or does not fit the data.
    """
    return open_checkpoint(
        str(find_resource("model", arguments.model)),
        table,
        str(arguments.dataset or arguments.train_embeddings),
        overrides=arguments.config_fields(),
        may_be_new=True,
    ).model


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


def main(argv: Sequence[str] | None = None, program: str = "run_pretraining.py") -> int | str | None:
    """Trains as the command line says.

    Args:
        argv: Its words; by default those of the process.
        program: Name of the command, for messages.

    Returns:
        What the process ends with: nothing, an exit code, or one sentence that says what is wrong.
    """
    is_main = os.environ.get("RANK", "0") == "0"
    try:
        pretrain(parse_arguments(argv, program))
    except ComicSeqError as error:
        return f"{program}: {error}"
    except TrainingStopped as error:
        if is_main or not error.everywhere:
            print(f"\n{program}: {error}", file=sys.stderr)  # below the progress bar
        return error.exit_code
    except KeyboardInterrupt:
        if is_main:
            print(f"{program}: Interrupted.", file=sys.stderr)
        return 130
    return None
