"""All arguments of a pretraining run in one dataclass: fields of a YAML file, overridden on the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments

from ..data.distractors import check_protocols
from ..errors import ComicSeqDataError, check_at_least, did_you_mean, parse_into

STORE_FIELDS = ("train_embeddings", "train_metadata", "val_embeddings", "val_metadata")


@dataclass
class PretrainingArguments(TrainingArguments):
    """Transformers' own training arguments, with the ones below."""

    output_dir: str = field(
        default="outputs/pretraining", metadata={"help": "Folder for checkpoints and the final model."}
    )
    dataset: str | None = field(
        default=None, metadata={"help": "Folder of the Arrow data set that `comicseq convert` wrote."}
    )
    train_embeddings: str | None = field(
        default=None,
        metadata={
            "help": "Instead of `dataset`: a Stage 3 Zarr store, a path or fsspec URL. It is converted first, by one"
            " process while the others wait (at most `ddp_timeout`), into OUTPUT_DIR_data, where a rerun finds it."
        },
    )
    train_metadata: str | None = field(default=None, metadata={"help": "Its metadata, a path or fsspec URL."})
    val_embeddings: str | None = field(
        default=None,
        metadata={"help": "The store to validate on, of other books; without, the training store is split by book."},
    )
    val_metadata: str | None = field(default=None, metadata={"help": "Its metadata, a path or fsspec URL."})
    num_proc: int = field(default=1, metadata={"help": "Processes that convert `train_embeddings`."})
    on_error: str = field(
        default="stop",
        metadata={"help": "What a faulty page of a store does: `stop` the run, or `skip`: be left out and listed."},
    )
    model: str = field(
        default="configuration/model/comicseq-base.json",
        metadata={
            "help": "A model configuration (JSON file) to start from scratch, or a checkpoint folder to go on from."
        },
    )
    config_overrides: str | None = field(
        default=None,
        metadata={
            "help": "Fields of the model configuration to change, as in '{hidden_size: 256, task_weights: {text_cloze: 0}}'."
            " Those of the command line are added to those of the file."
        },
    )
    num_candidates: int = field(default=5, metadata={"help": "Candidates of a question, the right one included."})
    protocol: list[str] = field(
        default_factory=lambda: ["same_book", "cross_book"],
        metadata={
            "help": "Where wrong candidates come from: same_book, cross_book, in_page (leaky), or later_panels (closure"
            " alone). Each question draws one. Validation asks under same_book."
        },
    )
    restart: bool = field(
        default=False,
        metadata={"help": "Train from the start even where `output_dir` holds a checkpoint to resume from."},
    )

    # Defaults of this kind of run.
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Pages in a batch, per process."})
    learning_rate: float = field(default=5e-4, metadata={"help": "Peak learning rate."})
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    warmup_steps: float = field(
        default=0.1, metadata={"help": "Warm-up steps, or their share of all steps if below 1."}
    )
    num_train_epochs: float = field(default=20, metadata={"help": "Passes over the training split."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to ask the validation questions."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep, the best among them."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Whether to end with the best checkpoint."})
    metric_for_best_model: str | None = field(
        default="score", metadata={"help": "Validation metric of the best checkpoint."}
    )
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more of that metric is better."})
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after so many evaluations in a row without a new best `metric_for_best_model`. Off by default:"
            " the learning rate anneals to the last step, and the best checkpoint is kept anyway."
        },
    )
    bf16: bool | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Train in bfloat16 autocast. By default where the GPU computes in it, never on the CPU."},
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Should stay off: it hides losses that are not finite from the logs."}
    )
    logging_steps: float = field(default=20, metadata={"help": "Steps between two logs."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Must stay off: batches are nested."})
    ddp_find_unused_parameters: bool | None = field(
        default=True, metadata={"help": "Must stay on: a batch can be without an example of some task."}
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
        self._check_early_stopping()
        if self.dataloader_persistent_workers:
            raise ComicSeqDataError(
                "`dataloader_persistent_workers` is true but must be off: workers that outlive an epoch ask its questions"
                " again."
            )
        if Path(self.output_dir).is_file():
            raise ComicSeqDataError(f"`output_dir` is {self.output_dir!r}, which is a file: name a folder.")

    def _check_data(self) -> None:
        """What is to be trained on is named once, and each store with its metadata."""
        check_at_least("num_proc", self.num_proc, 1)
        if self.on_error not in ("stop", "skip"):
            raise ComicSeqDataError(f"`on_error` is {self.on_error!r} but must be stop or skip.")
        given = [name for name in STORE_FIELDS if getattr(self, name) is not None]
        if self.dataset is not None and given:
            raise ComicSeqDataError(f"`dataset` and `{given[0]}` are both set: leave one of them out.")
        for side in ("train", "val"):
            names = (f"{side}_embeddings", f"{side}_metadata")
            for name, other in (names, names[::-1]):
                if other in given and name not in given:
                    raise ComicSeqDataError(
                        f"`{other}` is set without `{name}`: a store needs its metadata, give both."
                    )
        if "val_embeddings" in given and "train_embeddings" not in given:
            raise ComicSeqDataError(
                "`val_embeddings` is set without `train_embeddings`: give the store to train on, or a `dataset`."
            )

    def _check_early_stopping(self) -> None:
        if self.early_stopping_patience is None:
            return
        check_at_least("early_stopping_patience", self.early_stopping_patience, 1)
        if self.eval_strategy == "no":
            raise ComicSeqDataError(
                "`early_stopping_patience` counts evaluations but `eval_strategy` is 'no': set it to epoch or steps."
            )

    def config_fields(self) -> dict[str, Any]:
        """The overridden fields of the model configuration.

        Raises:
            ComicSeqDataError: If `config_overrides` is no mapping.
        """
        try:
            overrides = yaml.safe_load(self.config_overrides or "{}")
        except yaml.YAMLError:
            overrides = None
        if not isinstance(overrides, dict):
            raise ComicSeqDataError(
                f"`config_overrides` is {self.config_overrides!r} but must be like '{{hidden_size: 256}}'."
            )
        return overrides


def parse_arguments(argv: list[str] | None = None) -> PretrainingArguments:
    """Parses `CONFIG.yaml --field value …`; the command line overrides the file.

    Raises:
        ComicSeqDataError: If a field does not exist or its value is not allowed.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(
        PretrainingArguments,  # type: ignore[arg-type]
        prog="run_pretraining.py",
        usage="%(prog)s [CONFIG.yaml] [--field value ...]",
        description="Pretrains ComicSeq on all tasks. Fields come from CONFIG.yaml and from the command line, which wins.",
        allow_abbrev=False,
    )
    if argv and not argv[0].startswith("-"):
        argv = [*_yaml_to_argv(Path(argv[0])), *argv[1:]]
    return parse_into(parser, _merge_overrides(argv))


def _merge_overrides(argv: list[str]) -> list[str]:
    """Makes one `--config_overrides` of several, a later one winning field by field: argparse keeps the last alone."""
    merged: dict[str, Any] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, has_value, value = word.partition("=")
        if name != "--config_overrides":
            rest.append(word)
            continue
        text = value if has_value else next(words, "")
        try:
            fields_given = yaml.safe_load(text)
        except yaml.YAMLError:
            fields_given = None
        if not isinstance(fields_given, dict):
            return argv  # which will be refused
        for field_name, field_value in fields_given.items():
            before = merged.get(field_name)
            is_mapping = isinstance(before, dict) and isinstance(field_value, dict)
            merged[field_name] = before | field_value if is_mapping else field_value  # type: ignore[operator]
    return [*rest, "--config_overrides", json.dumps(merged)] if merged else rest


def _yaml_to_argv(path: Path) -> list[str]:
    if not path.is_file():
        raise ComicSeqDataError(f"There is no configuration file {path}.")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ComicSeqDataError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ComicSeqDataError(f"{path} must hold `field: value` lines.")
    known = {each.name for each in fields(PretrainingArguments) if each.init}
    for name in values:
        if name not in known:
            raise ComicSeqDataError(
                f"{path} names `{name}`, which is no field of a run{did_you_mean(name, known)}. --help lists them."
            )
    # A field without a value keeps its default.
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", *_words(value))]


def _words(value) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return [json.dumps(value) if isinstance(value, dict) else str(value)]
