"""A pretraining run from its arguments to its model: what `run_pretraining.py` and `comicseq pretrain` do."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from rich.console import Console
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, set_seed
from transformers.utils import logging

from ..checkpoints.opening import (
    MODEL_FIELDS,
    check_fits,
    is_page_model,
    open_checkpoint,
    override_config,
    read_config,
)
from ..checkpoints.provenance import read_training_provenance
from ..command import exit_code, how_it_ended
from ..data.opening import splits_of
from ..data.page_panels import open_pages, provenance_of
from ..data.panels import PanelTable
from ..encoders.loading import OFFLINE_TEXT_ENCODER
from ..encoders.panel_encoder import OFFLINE_ENCODER, PanelEncoder, load_panel_encoder
from ..errors import ComicSeqArgumentError, ComicSeqDataError, ComicSeqError, counted
from ..evaluation.metrics import FEW_BOOKS
from ..files import locked
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicpage import ComicPageForPreTraining
from ..model.modeling_comicseq import ComicSeqForPreTraining
from ..outputs import check_output
from ..pages.page_set import PageSet
from ..progress import quiet_transformers
from ..resources import find_resource
from ..stores.provenance import read_provenance
from .arguments import STORES, PretrainingArguments, parse_arguments
from .checkpointing import incomplete_checkpoints, is_complete, last_checkpoint
from .cost import describe_cost
from .dataset import PretrainingDataset
from .faults import TrainingStopped, once, saving, stopped_in_one_sentence, terminable
from .features import read_vectors
from .reading import describe_reading, load_reader, reading_fields
from .saving import check_hub, hub_faults
from .stores import open_data
from .trainer import ComicSeqTrainer
from .tuning import freeze
from .wanted import WantedTasks
from .whitening import fit_strip_mean

logger = logging.get_logger(__name__)

# Arguments that a run is not resumed with others of.
OF_THE_ENCODER = "encoder", "tune_encoders", "layer_decay", "text_reading", "text_reading_layers"


def pretrain(arguments: PretrainingArguments) -> None:
    """Trains, as the arguments say, and leaves the model in `output_dir`.

    Raises:
        ComicSeqError: If the arguments or the data cannot be used.
        TrainingStopped: If the run cannot go on.
    """
    if arguments.dataset is None and arguments.train_embeddings is None and arguments.pages is None:
        raise ComicSeqArgumentError(
            "`dataset` is not set: name the folder that `comicseq convert` wrote, or a store with `train_embeddings` and"
            " `train_metadata`, or `pages`."
        )
    logging.disable_progress_bar()  # of transformers: files are written in no time
    with stopped_in_one_sentence(arguments), ExitStack() as held:
        once(arguments, lambda: take_output(arguments, held))
        _train(arguments)


def take_output(arguments: PretrainingArguments, held: ExitStack) -> None:
    """Makes sure of `output_dir`, and keeps other runs away from it while `held` is open.

    Raises:
        ComicSeqDataError: It is an input, holds another's files, cannot be written, or is another run's at this moment;
            or the Hub cannot be reached and the run is to upload.
    """
    folder = Path(arguments.output_dir)
    if arguments.dataset is not None:
        splits_of(arguments.dataset)  # of a folder above it, the output would be said to lie in it
    inputs = [getattr(arguments, name) for name in ("dataset", "pages", *chain(*STORES), "split_books", "model")]
    inputs += filter(None, (arguments.encoder or "").split("+"))
    check_output(folder / f"{PREFIX_CHECKPOINT_DIR}-1", inputs, overwrite=True, folder=True)
    foreign = [name for name in ("config.json", "model.safetensors", "README.md") if (folder / name).is_file()]
    if foreign and not any(folder.glob("training_args.*")) and not any(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")):
        raise ComicSeqDataError(
            f"`output_dir` is {arguments.output_dir}, whose {foreign[0]} no run wrote and a run would replace: name"
            " another folder."
        )
    held.enter_context(locked(folder))
    if arguments.push_to_hub:
        check_hub(arguments)


def _train(arguments: PretrainingArguments) -> None:
    wanted = WantedTasks(arguments, configuration(arguments))
    encoder = None if arguments.pages is None else open_encoder(arguments)
    train_table, validation_table = open_data(arguments, wanted, encoder)
    if len(validation_table.book_ids) < FEW_BOOKS and arguments.process_index == 0:
        logger.warning(
            f"Validation asks about {counted(len(validation_table.book_ids), 'book')}: below {FEW_BOOKS}, its scores, and which"
            " checkpoint is the best by them, mean little."
        )
    set_seed(arguments.seed)  # before the weights are drawn
    sequence = build_model(arguments, train_table, wanted, encoder)
    validated = arguments.dataset or arguments.pages or arguments.val_embeddings or arguments.train_embeddings
    check_fits(sequence.config, arguments.model, validation_table, str(validated))
    dataset = PretrainingDataset(
        train_table,
        sequence.config,
        arguments.num_candidates,
        arguments.protocol,
        arguments.seed,
        arguments.questions_per_page,
        arguments.modality_dropout,
    )
    model: ComicSeqForPreTraining | ComicPageForPreTraining = sequence
    if encoder is not None:
        freeze(encoder.model, arguments.tuning)
        model = with_encoder(arguments, encoder, sequence)
    trainer = ComicSeqTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        validation_table=validation_table,
        processor=None if encoder is None else encoder.processor,
    )
    checkpoint = find_checkpoint(arguments, sequence.config, provenance_of(train_table))
    strip_mean = sequence.comicseq.pooler.strip_mean
    if strip_mean is not None and not strip_mean.is_fitted and checkpoint is None:
        fit_strip_mean(strip_mean, read_vectors(model, dataset.table))
    console = Console(quiet=not trainer.is_world_process_zero(), soft_wrap=True)
    if isinstance(model, ComicPageForPreTraining):
        console.print(describe_cost(model, dataset, arguments))
        if model.text_reader is not None:
            console.print(describe_reading(train_table))
    for incomplete in incomplete_checkpoints(arguments.output_dir):
        console.print(f"{incomplete} is not complete: its saving was broken off. It is passed over.")
    if checkpoint is not None:
        console.print(f"Resuming from {checkpoint} (train anew with --restart).")
    folder = Path(arguments.output_dir)
    ended = None if checkpoint is None or _step_of(Path(checkpoint)) != _step_of(folder) else _step_of(folder)
    trainer.train(resume_from_checkpoint=checkpoint)
    step = trainer.state.global_step
    is_finished = step == ended
    if is_finished:  # the card may hold an evaluation by now
        console.print(
            f"The run had already ended, at step {step:,}: nothing was trained, and what is in {folder} is as it was. Give"
            " a larger --num-train-epochs or --max-steps to go on, or train anew with --restart."
        )
    else:
        with saving(folder, lambda: folder):
            trainer.save_model()
            trainer.create_model_card()
            trainer.save_state()  # last: it tells that the rest is of this step
    if arguments.push_to_hub:
        with hub_faults(
            f"The model is saved in {folder}, but", f"Upload it with `hf upload {trainer.hub_model_id} {folder}`"
        ):
            trainer.push_to_hub()
    if not is_finished:
        console.print(f"Saved to {folder}: load it with AutoModel.from_pretrained({arguments.output_dir!r}).")


def _step_of(folder: Path) -> int | None:
    """The step that a checkpoint, or the finished run in `folder`, is of; None where there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))["global_step"]
    return None


def configuration(arguments: PretrainingArguments) -> ComicSeqConfig:
    """The model's configuration, as far as it does not follow from the widths of the data.

    Raises:
        ComicSeqError: If there is none, or an override is wrong.
    """
    config = read_config(str(find_resource("model", arguments.model)))
    return override_config(config, arguments.config_fields(), "`config_overrides`")


def open_encoder(arguments: PretrainingArguments) -> PanelEncoder:
    """The panel encoder that is named, that of the page model in `model`, or the one that installs without a hub.

    Raises:
        ComicSeqError: There is none, or a page model's own is to be replaced.
    """
    name = arguments.encoder
    if is_page_model(str(find_resource("model", arguments.model))):
        if name not in (None, arguments.model):
            raise ComicSeqArgumentError(
                f"`encoder` is {name!r} but {arguments.model} has an encoder that it was trained with: leave `encoder` out."
            )
        name = arguments.model
    elif name is None:
        has_pictures = isinstance(open_pages(str(arguments.pages)), PageSet)
        name = OFFLINE_ENCODER if has_pictures else f"+{OFFLINE_TEXT_ENCODER}"
    with quiet_transformers():
        return load_panel_encoder(name, device=arguments.device)


def with_encoder(
    arguments: PretrainingArguments, encoder: PanelEncoder, sequence: ComicSeqForPreTraining
) -> ComicPageForPreTraining:
    """The page model of an encoder and a sequence model; texts are read as the arguments say, or as `--model` has learned to.

    Raises:
        ComicSeqArgumentError: The encoder's texts cannot be read at the level of tokens.
    """
    try:
        model = ComicPageForPreTraining.from_parts(encoder.model, sequence, **reading_fields(arguments))
    except (ValueError, StrictDataclassError) as error:
        if isinstance(error, ComicSeqError):
            raise
        raise ComicSeqArgumentError(f"{encoder.name} cannot be trained so: {error.__cause__ or error}") from None
    load_reader(model, arguments)
    return model


def build_model(
    arguments: PretrainingArguments,
    table: PanelTable,
    wanted: WantedTasks | None = None,
    encoder: PanelEncoder | None = None,
) -> ComicSeqForPreTraining:
    """A new model as wide as the data set's vectors, or the checkpoint that `--model` names, with the overrides.

    Raises:
        ComicSeqError: If the configuration, the checkpoint or an override is wrong or does not fit the data.
    """
    weights = {} if wanted is None else {"task_weights": wanted.weights}
    checkpoint = open_checkpoint(
        str(find_resource("model", arguments.model)),
        table,
        str(arguments.dataset or arguments.pages or arguments.train_embeddings),
        origin=read_provenance(table.dataset).get("origin", {}) if encoder is None else encoder.origin,
        other_origin=arguments.other_origin,
        overrides=arguments.config_fields() | weights,
        may_be_new=True,
    )
    for note in checkpoint.notes if arguments.process_index == 0 else []:
        logger.warning(note)
    return checkpoint.model


def find_checkpoint(
    arguments: PretrainingArguments, config: ComicSeqConfig, provenance: Mapping[str, Any] | None = None
) -> str | None:
    """The checkpoint to resume from: the one named, else the last complete one, unless `--restart` is given.

    Args:
        arguments: Those of the run.
        config: That of its model.
        provenance: That of the data that it trains on, which must be those of the checkpoint's run.

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
    for name, value in _encoder_of(checkpoint).items():
        if value != getattr(arguments, name):
            raise ComicSeqDataError(
                f"{checkpoint} is of another run: its `{name}` is {value!r}, not {getattr(arguments, name)!r}. Give another"
                " --output_dir, train anew with --restart, or train that model further with --model."
            )
    before = read_training_provenance(checkpoint).get("fingerprint")
    now = (provenance or {}).get("source", {}).get("fingerprint")
    if before is not None and now is not None and before != now:
        raise ComicSeqDataError(
            f"{checkpoint} is of another run: it was trained on other data than"
            f" {arguments.dataset or arguments.pages or arguments.train_embeddings} (their fingerprint is {before}, not {now}). Give another"
            " --output_dir, train anew with --restart, or train that model further with --model."
        )
    return checkpoint


def _encoder_of(checkpoint: str) -> dict[str, Any]:
    """What the arguments of a checkpoint's run say of a panel encoder; nothing of an earlier version's."""
    with suppress(OSError, ValueError, AttributeError):
        said = json.loads(Path(checkpoint, "training_args.json").read_text(encoding="utf-8"))
        return {name: said[name] for name in OF_THE_ENCODER if name in said}
    return {}


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
        with terminable():
            pretrain(parse_arguments(argv, program))
    except ComicSeqError as error:
        return f"{program}: {error}"
    except TrainingStopped as error:
        if is_main or not error.everywhere:
            print(f"\n{program}: {error}", file=sys.stderr)  # below the progress bar
        return error.exit_code
    except KeyboardInterrupt as error:
        if is_main:
            print(f"{program}: {how_it_ended(error)}: nothing was begun, run the same again.", file=sys.stderr)
        return exit_code(error)
    return None
