"""All arguments of a pretraining run in one dataclass: fields of a YAML file, overridden on the command line."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments

from ..data.distractors import check_protocols
from ..errors import ComicSeqArgumentError, check_at_least, did_you_mean, parse_into
from ..resources import find_resource

# A store and its metadata are given together.
STORES = (("train_embeddings", "train_metadata"), ("val_embeddings", "val_metadata"))


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A field of the arguments with its help text."""
    return field(default=default, metadata={"help": help, **metadata})


@dataclass
class PretrainingArguments(TrainingArguments):
    """Transformers' own training arguments, with the ones below."""

    output_dir: str = option("outputs/pretraining", "Folder for checkpoints and the final model.")
    dataset: str | None = option(None, "Folder of the Arrow data set that `comicseq convert` wrote.")
    train_embeddings: str | None = option(
        None,
        "Instead of `dataset`: a Stage 3 Zarr store, a path or fsspec URL. It is converted first, by one process while"
        " the others wait (at most `ddp_timeout`), into OUTPUT_DIR_data, where a rerun finds it.",
    )
    train_metadata: str | None = option(None, "Its metadata, a path or fsspec URL.")
    val_embeddings: str | None = option(
        None, "The store to validate on, of other books; without, the training store is split by book."
    )
    val_metadata: str | None = option(None, "Its metadata, a path or fsspec URL.")
    num_proc: int = option(1, "Processes that convert `train_embeddings`.")
    on_error: str = option(
        "stop", "What a faulty page of a store does: `stop` the run, or `skip`: be left out and listed."
    )
    model: str = option(
        "comicseq-base",
        "What to start from: a new model of a shipped configuration (comicseq-base, comicseq-small, comicseq-tiny) or of"
        " one in a JSON file, or, to go on from, a checkpoint folder or a model on the Hub.",
    )
    config_overrides: list[str] | str | None = option(
        None,
        "Fields of the model configuration to change, as in '{hidden_size: 256, task_weights: {text_cloze: 0}}'. Those of"
        " the command line are added to those of the file.",
        action="append",
    )
    num_candidates: int = option(5, "Candidates of a question, the right one included.")
    protocol: list[str] = field(
        default_factory=lambda: ["same_book", "cross_book"],
        metadata={
            "help": "Where wrong candidates come from: same_book, cross_book, in_page (leaky), or later_panels (closure"
            " alone). Each question draws one. Validation asks under same_book."
        },
    )
    restart: bool = option(False, "Train from the start even where `output_dir` holds a checkpoint to resume from.")

    # Defaults of this kind of run.
    per_device_train_batch_size: int = option(64, "Pages in a batch, per process.")
    learning_rate: float = option(5e-4, "Peak learning rate.")
    weight_decay: float = option(0.05, "Weight decay.")
    lr_scheduler_type: str = option("cosine", "Schedule of the learning rate.")
    warmup_steps: float = option(0.1, "Warm-up steps, or their share of all steps if below 1.")
    num_train_epochs: float = option(20, "Passes over the training split.")
    eval_strategy: str = option("epoch", "When to ask the validation questions.")
    save_strategy: str = option("epoch", "When to save a checkpoint.")
    save_total_limit: int | None = option(2, "Checkpoints to keep, the best among them.")
    load_best_model_at_end: bool = option(True, "Whether to end with the best checkpoint.")
    metric_for_best_model: str | None = option("score", "Validation metric of the best checkpoint.")
    greater_is_better: bool | None = option(True, "Whether more of that metric is better.")
    early_stopping_patience: int | None = option(
        None,
        "Stop after so many evaluations in a row without a new best `metric_for_best_model`. Off by default: the learning"
        " rate anneals to the last step, and the best checkpoint is kept anyway.",
    )
    bf16: bool | None = option(  # type: ignore[assignment]
        None, "Train in bfloat16 autocast. By default where the GPU computes in it, never on the CPU."
    )
    logging_nan_inf_filter: bool = option(False, "Should stay off: it hides losses that are not finite from the logs.")
    logging_steps: float = option(20, "Steps between two logs.")
    remove_unused_columns: bool = option(False, "Must stay off: batches are nested.")
    ddp_find_unused_parameters: bool | None = option(
        True, "Must stay on: a batch can be without an example of some task."
    )

    def __post_init__(self):
        if self.bf16 is None:
            on_gpu = torch.cuda.is_available() and not self.use_cpu and not self.fp16
            self.bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        super().__post_init__()
        self.config_fields()
        check_at_least("num_candidates", self.num_candidates, 2)
        check_at_least("per_device_train_batch_size", self.per_device_train_batch_size, 1)
        check_at_least("gradient_accumulation_steps", self.gradient_accumulation_steps, 1)
        check_protocols(self.protocol)
        self._check_data()
        if self.early_stopping_patience is not None:
            check_at_least("early_stopping_patience", self.early_stopping_patience, 1)
            if self.eval_strategy == "no":
                raise ComicSeqArgumentError(
                    "`early_stopping_patience` counts evaluations but `eval_strategy` is 'no': set it to epoch or steps."
                )
        if self.dataloader_persistent_workers:
            raise ComicSeqArgumentError(
                "`dataloader_persistent_workers` is true but must be off: workers that outlive an epoch ask its questions"
                " again."
            )
        if self.train_sampling_strategy != "random":
            raise ComicSeqArgumentError(
                f"`train_sampling_strategy` is {self.train_sampling_strategy!r} but must be random: pages are dealt out"
                " in an order that is drawn anew for each epoch."
            )
        if Path(self.output_dir).is_file():
            raise ComicSeqArgumentError(f"`output_dir` is {self.output_dir!r}, which is a file: name a folder.")

    def _check_data(self) -> None:
        """What is to be trained on is named once, and each store with its metadata."""
        check_at_least("num_proc", self.num_proc, 1)
        if self.on_error not in ("stop", "skip"):
            raise ComicSeqArgumentError(f"`on_error` is {self.on_error!r} but must be stop or skip.")
        given = [name for names in STORES for name in names if getattr(self, name) is not None]
        if self.dataset is not None and given:
            raise ComicSeqArgumentError(f"`dataset` and `{given[0]}` are both set: leave one of them out.")
        for names in STORES:
            for name, needed in (names, names[::-1]):
                if name in given and needed not in given:
                    raise ComicSeqArgumentError(
                        f"`{name}` is set without `{needed}`: a store needs its metadata, give both."
                    )
        if "val_embeddings" in given and "train_embeddings" not in given:
            raise ComicSeqArgumentError(
                "`val_embeddings` is set without `train_embeddings`: give the store to train on, or a `dataset`."
            )

    def config_fields(self) -> dict[str, Any]:
        """The overridden fields of the model configuration.

        Raises:
            ComicSeqArgumentError: If `config_overrides` is no mapping.
        """
        given = self.config_overrides or []
        merged: dict[str, Any] = {}
        for text in [given] if isinstance(given, str) else given:
            try:
                overrides = yaml.safe_load(text)
            except yaml.YAMLError:
                overrides = None
            if not isinstance(overrides, dict):
                raise ComicSeqArgumentError(f"`config_overrides` is {text!r} but must be like '{{hidden_size: 256}}'.")
            for name, value in overrides.items():  # a later one wins, within `task_weights` task by task
                before = merged.get(name)
                is_mapping = isinstance(before, dict) and isinstance(value, dict)
                merged[name] = before | value if is_mapping else value  # type: ignore[operator]
        return merged


def parse_arguments(argv: Sequence[str] | None = None, program: str = "run_pretraining.py") -> PretrainingArguments:
    """Parses `CONFIG.yaml --field value …`; the command line overrides the file.

    Args:
        argv: The words of the command line; by default those of the process.
        program: Name of the command in `--help`.

    Raises:
        ComicSeqArgumentError: If a field does not exist or its value is not allowed.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(
        PretrainingArguments,  # type: ignore[arg-type]
        prog=program,
        usage="%(prog)s [CONFIG.yaml] [--field value ...]",
        description="Pretrains ComicSeq on all tasks. Fields come from CONFIG.yaml, a file or the name of a shipped one"
        " (base, demo, synthetic, text_only), and from the command line, which wins.",
        allow_abbrev=False,
    )
    if argv and not argv[0].startswith("-"):
        argv = [*_yaml_to_argv(find_resource("pretraining", argv[0])), *argv[1:]]
    return parse_into(parser, argv)


def _yaml_to_argv(path: Path) -> list[str]:
    if not path.is_file():
        raise ComicSeqArgumentError(f"There is no configuration file {path}.")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ComicSeqArgumentError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ComicSeqArgumentError(f"{path} must hold `field: value` lines.")
    known = {each.name for each in fields(PretrainingArguments) if each.init}
    for name in values:
        if name not in known:
            raise ComicSeqArgumentError(
                f"{path} names `{name}`, which is no field of a run{did_you_mean(name, known)}. --help lists them."
            )
    # A field without a value keeps its default.
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", *_words(value))]


def _words(value) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return [json.dumps(value) if isinstance(value, dict) else str(value)]
