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

from ..checkpoints.opening import MODEL_FIELDS
from ..data.distractors import check_protocols
from ..errors import ComicSeqArgumentError, did_you_mean, parse_into, split_names
from ..model.configuration_comicpage import TEXT_READINGS
from ..resources import find_resource, shipped
from ..urls import refuse_url
from .settings import check_after, check_before
from .tuning import read_tuning

# A store and its metadata are given together.
STORES = (("train_embeddings", "train_metadata"), ("val_embeddings", "val_metadata"))

# What says something of an encoder, or of pages that it reads, beside `tune_encoders`.
WITH_PAGES = (
    "encoder",
    "encoder_learning_rate",
    "layer_decay",
    "text_reading",
    "text_reading_layers",
    "pages_together",
)


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
    pages: str | None = option(
        None,
        "Instead of vectors: the data set of pages that `comicseq ingest` wrote, whose pictures and texts are encoded as"
        " they are trained on; or a JSON list of pages with `texts`, as the metadata of a store. It is split by book.",
    )
    encoder: str | None = option(
        None,
        "With `pages`: the panel encoder, a name as `comicseq embed --encoder` takes it. By default that of `model`, if it"
        " is a page model, else efficientnet-lite0+all-MiniLM-L6-v2 (+all-MiniLM-L6-v2 without pictures).",
    )
    tune_encoders: list[str] = field(
        default_factory=lambda: ["none"],
        metadata={
            "help": "With `pages`: what of the encoder is trained: `none`, `projections`, `last_N` (its last N layers and"
            " what follows) or `all`; for each half by itself: `vision=none text=all`."
        },
    )
    encoder_learning_rate: float = option(3e-5, "With `pages`: peak learning rate of the encoder.")
    layer_decay: float = option(1.0, "Factor on that rate from each layer of the encoder to the one below it.")
    text_reading: str | None = option(
        None,
        "With `pages`: how candidate texts are compared with those of a page: `vectors`, one a text, or also `tokens`: they read"
        " each other's words. By default as `model` has it, if that is a page model, else `vectors`.",
    )
    text_reading_layers: int | None = option(
        None, "How many of the text model's last layers are copied for that, and trained; by default 2."
    )
    pages_together: int = option(
        8,
        "With `pages`: so many pages of a book in a row stand in one batch, and wrong candidates come from the batch as far"
        " as it has them, so that few pictures and texts are encoded for them alone; with 1, pages come in any order. Pages of"
        " one book are no negatives of the contrastive loss, for which a batch should hold several times as many pages.",
    )
    num_proc: int = option(1, "Processes that convert `train_embeddings`.")
    on_error: str = option(
        "stop", "What a faulty page of a store does: `stop` the run, or `skip`: be left out and listed."
    )
    fractions: list[float] = field(
        default_factory=lambda: [0.8, 0.1, 0.1],
        metadata={
            "help": "Shares of train, validation and test of the books of `pages` or `train_embeddings`, by a hash."
        },
    )
    split_books: str | None = option(
        None,
        'Instead: a JSON file with lists of book ids, as in \'{"validation": ["Book 1"]}\'; the rest is trained on.',
    )
    tasks: list[str] = field(
        default_factory=lambda: ["all"],
        metadata={
            "help": "Tasks to train on: `all` to which the model gives a weight, those `available` with the vectors of the"
            " data, or names of tasks."
        },
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
    questions_per_page: int = option(
        1, "Questions that each page asks in a pass: of pages that are encoded, more cost little more."
    )
    protocol: list[str] = field(
        default_factory=lambda: ["same_book", "cross_book"],
        metadata={
            "help": "Where wrong candidates come from: same_book, cross_book, in_page (leaky), or later_panels (closure"
            " alone). Each question draws one. Validation asks under same_book."
        },
    )
    modality_dropout: float = option(
        0.0,
        "Share of the questions and of the strips that are shown by pictures or by texts alone, half and half, so that one"
        " model serves both and either.",
    )
    other_origin: bool = option(
        False, "Go on from a checkpoint although the vectors are of another origin than those that it was trained on."
    )
    restart: bool = option(False, "Train from the start even where `output_dir` holds a checkpoint to resume from.")

    # Defaults of this kind of run.
    per_device_train_batch_size: int = option(64, "Pages in a batch, per process.")
    per_device_eval_batch_size: int = option(256, "Questions in a batch of validation, per process.")
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
        if self.disable_tqdm is None and not sys.stderr.isatty() and "ipykernel" not in sys.modules:
            self.disable_tqdm = True  # a bar in a pipe or a file is noise
        self.tasks = split_names(self.tasks)
        check_before(self)
        super().__post_init__()
        check_after(self)
        self.dataloader_pin_memory &= torch.accelerator.is_available()  # or torch warns
        self.config_fields()
        check_protocols(self.protocol)
        self._check_data()
        self._check_encoder()
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise ComicSeqArgumentError(
                "`early_stopping_patience` counts evaluations but `eval_strategy` is 'no': set it to epoch or steps."
            )
        refuse_url(self.output_dir)
        if Path(self.output_dir).is_file():
            raise ComicSeqArgumentError(f"`output_dir` is {self.output_dir!r}, which is a file: name a folder.")

    def _check_data(self) -> None:
        """What is to be trained on is named once, and each store with its metadata."""
        if self.on_error not in ("stop", "skip"):
            raise ComicSeqArgumentError(f"`on_error` is {self.on_error!r} but must be stop or skip.")
        given = [name for names in STORES for name in names if getattr(self, name) is not None]
        sources = [name for name in ("dataset", "pages", *given[:1]) if getattr(self, name) is not None]
        if len(sources) > 1:
            raise ComicSeqArgumentError(f"`{sources[0]}` and `{sources[1]}` are both set: leave one of them out.")
        if self.pages is not None and self.on_error == "skip":
            raise ComicSeqArgumentError(
                "`on_error` is skip, which is for pages of a store, and `pages` is given: leave it out, and leave faulty pages"
                " out with `comicseq ingest --on-error skip`."
            )
        for names in STORES:
            for name, needed in (names, names[::-1]):
                if name in given and needed not in given:
                    raise ComicSeqArgumentError(
                        f"`{name}` is set without `{needed}`: a store needs its metadata, give both."
                    )
        split_by = "split_books" if self.split_books is not None else "fractions"
        if (self.split_books is not None or self.fractions != [0.8, 0.1, 0.1]) and (
            not {"train_embeddings", "pages"} & {*given, *sources} or "val_embeddings" in given
        ):
            raise ComicSeqArgumentError(
                f"`{split_by}` splits the store of `train_embeddings`, or `pages`, and goes with no `dataset` and no `val_embeddings`:"
                f" leave `{split_by}` out, or the other."
            )
        if "val_embeddings" in given and "train_embeddings" not in given:
            raise ComicSeqArgumentError(
                "`val_embeddings` is set without `train_embeddings`: give the store to train on, or a `dataset`."
            )

    def _check_encoder(self) -> None:
        """What is said of an encoder can be done, and there are pages for it."""
        self.tuning = read_tuning(self.tune_encoders)
        if self.text_reading not in (None, *TEXT_READINGS):
            raise ComicSeqArgumentError(
                f"`text_reading` is {self.text_reading!r} but must be one of {', '.join(TEXT_READINGS)}."
            )
        if self.pages is not None:
            return
        given = ["tune_encoders"] if self.tune_encoders != ["none"] else []
        given += [name for name in WITH_PAGES if getattr(self, name) != getattr(PretrainingArguments, name)]
        if given:
            raise ComicSeqArgumentError(
                f"`{given[0]}` is set without `pages`: an encoder is trained, or used, on pages, not on vectors."
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
                overrides = yaml.load(text, _OneOfEach)
            except yaml.constructor.ConstructorError as error:
                raise ComicSeqArgumentError(f"`config_overrides` is {text!r}: {error.problem}.") from None
            except (yaml.YAMLError, RecursionError):
                overrides = None
            if not isinstance(overrides, dict):
                raise ComicSeqArgumentError(f"`config_overrides` is {text!r} but must be like '{{hidden_size: 256}}'.")
            for name, value in overrides.items():  # a later one wins, within `task_weights` task by task
                before = merged.get(name)
                is_mapping = isinstance(before, dict) and isinstance(value, dict)
                merged[name] = before | value if is_mapping else value  # type: ignore[operator]
        return merged


class _OneOfEach(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML takes the last in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for place, key in enumerate(keys) if key in keys[:place]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"`{twice[0]}` is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_arguments(argv: Sequence[str] | None = None, program: str = "run_pretraining.py") -> PretrainingArguments:
    """Parses `CONFIG.yaml --field value …`; the command line overrides the file.

    Fields of the model's configuration can be given like those of the run, in the file and on the command line.

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
        f" ({', '.join(shipped('pretraining'))}), and from the command line, which wins. Fields of the model's configuration,"
        f" which are {', '.join(MODEL_FIELDS)}, can be given likewise.",
        allow_abbrev=False,
    )
    if argv and not argv[0].startswith("-"):
        argv = [*_yaml_to_argv(find_resource("pretraining", argv[0])), *argv[1:]]
    return parse_into(parser, _as_overrides(argv), MODEL_FIELDS)


def _as_overrides(argv: list[str]) -> list[str]:
    """`argv` with the fields of the model, as `--hidden_size 64`, given as `config_overrides`."""
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or name not in MODEL_FIELDS:
            words.append(word)
            continue
        value = value if equals else next(rest, "--")
        if value.startswith("--"):
            raise ComicSeqArgumentError(f"{option} is given without a value: it is a field of the model, give it one.")
        words.append(f"--config_overrides={{{name}: {value}}}")
    return words


def _yaml_to_argv(path: Path) -> list[str]:
    if not path.is_file():
        raise ComicSeqArgumentError(f"There is no configuration file {path}.")
    try:
        values = yaml.load(path.read_text(), _OneOfEach)
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise ComicSeqArgumentError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ComicSeqArgumentError(f"{path} must hold `field: value` lines.")
    known = {each.name: each for each in fields(PretrainingArguments) if each.init}
    words = []
    for name, value in values.items():
        if name not in known and name not in MODEL_FIELDS:
            raise ComicSeqArgumentError(
                f"{path} names `{name}`, which is no field of a run{did_you_mean(name, {*known, *MODEL_FIELDS})}. --help"
                " lists them."
            )
        kind = str(known[name].type) if name in known else "dict"
        for wrong in (list, dict):
            if isinstance(value, wrong) and wrong.__name__ not in kind and name != "config_overrides":
                raise ComicSeqArgumentError(
                    f"{path} gives `{name}` a {'list' if wrong is list else 'mapping'}, {value!r}, but it takes one value."
                )
        if value is not None:  # a field without a value keeps its default
            words += [f"--{name}", *_words(value)]
    return words


def _words(value) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return [json.dumps(value) if isinstance(value, dict) else str(value)]
