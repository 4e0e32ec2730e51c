"""Makes ComicSeq checkpoints from those of the original Stage 4 code (`best_model.pt`)."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import ModelCard, ModelCardData

from ..errors import ComicSeqArgumentError, ComicSeqDataError
from ..files import written_folder
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import ComicSeqForPreTraining, sinusoidal_positions
from .opening import first_line

ENCODER = "sequence_transformer."
LAYERS = ENCODER + "transformer_encoder.layers."
POSITIONS = ENCODER + "pos_encoder.pe"
# How names of our weights begin, and those of the original ones. Weights that begin otherwise are not in the original.
PREFIXES = {
    "comicseq.layers.": LAYERS,
    "comicseq.layernorm.": ENCODER + "transformer_encoder.norm.",
    "comicseq.pooler.strip_query": ENCODER + "strip_query",
    "comicseq.pooler.": ENCODER + "strip_aggregator.",
    "panel_picking_head.scorer.mlp.": "panel_picking_head.scorer.",
    "character_coherence_head.scorer.mlp.": "character_coherence_head.consistency_scorer.",
    "visual_closure_head.scorer.mlp.": "visual_closure_head.closure_net.",
    "text_closure_head.scorer.mlp.": "text_closure_head.closure_net.",
    "caption_relevance_head.scorer.": "caption_relevance_head.relevance_scorer.",
    "text_cloze_head.context_encoder.": "text_cloze_head.context_encoder.",
    "text_cloze_head.scorer.": "text_cloze_head.text_scorer.",
    "reading_order_head.scorer.": "reading_order_head.order_scorer.",
}
# The same within an encoder's layer and an attention.
PARTS = {
    "attention.": "self_attn.",
    "o_proj.": "out_proj.",
    "mlp.fc1.": "linear1.",
    "mlp.fc2.": "linear2.",
    "layernorm_before.": "norm1.",
    "layernorm_after.": "norm2.",
}


class Source(NamedTuple):
    """Where a weight is in the original model.

    Attributes:
        name: Name of the tensor.
        shape: Its shape.
        third: Which third of it the weight is, where queries, keys and values are one tensor; else None.
    """

    name: str
    shape: tuple[int, ...]
    third: int | None


class Sizes(NamedTuple):
    """Sizes of the original model, read off its tensors: width, layers, feed-forward width, positions."""

    hidden_size: int
    num_layers: int
    intermediate_size: int
    num_positions: int


class ImportReport(NamedTuple):
    """What was imported.

    Attributes:
        config: Configuration of the checkpoint that was written.
        imported: Number of weights that were taken over.
        untrained: Names of the weights that the original model does not have.
    """

    config: ComicSeqConfig
    imported: int
    untrained: list[str]


def import_checkpoint(
    file: Path, output: Path, num_attention_heads: int | None = None, overwrite: bool = False
) -> ImportReport:
    """Writes the ComicSeq checkpoint with the weights of an original one.

    The encoder and the heads compute what they did there: ReLU in the feed-forward layers, panels unscaled, no similarity
    term. What the original model does not have is made neutral: the projections of further modalities are the
    identity, the mask and type embeddings zero.

    Args:
        file: The original checkpoint. It is read as tensors and plain values only; a pickle with code is refused.
        output: Folder to create.
        num_attention_heads: Number of attention heads, which the tensors do not tell; by default the `nhead` of the
            arguments in the file.
        overwrite: Whether to replace an existing folder.

    Raises:
        ComicSeqDataError: The file is no such checkpoint.
        ComicSeqArgumentError: The number of heads is unknown or does not fit.
    """
    with written_folder(output, overwrite) as folder:
        saved = read_file(file)
        weights = saved["model_state_dict"]
        sizes = read_sizes(weights, file)
        arguments = saved.get("args")
        arguments = arguments if isinstance(arguments, Mapping) else {}
        config = make_config(sizes, arguments, num_attention_heads, file)
        with torch.device("meta"):  # whatever sizes the file claims
            shapes = {
                name: tuple(weight.shape) for name, weight in ComicSeqForPreTraining(config).state_dict().items()
            }
        sources = {name: source for name, shape in shapes.items() if (source := find_source(name, shape))}
        check_weights(weights, list(sources.values()), file)
        model = ComicSeqForPreTraining(config)
        converted = {name: take(weights, source).reshape(shapes[name]) for name, source in sources.items()}
        untrained = sorted(model.load_state_dict(converted, strict=False).missing_keys)
        make_neutral(model, untrained)
        model.save_pretrained(folder)
        write_card(folder, output.name, file, saved, sizes, config, untrained)
    return ImportReport(config, len(weights), untrained)


def read_file(file: Path) -> dict[str, Any]:
    """The contents of an original checkpoint, of which only tensors and plain values are read.

    Raises:
        ComicSeqDataError: The file is absent, damaged, holds code or something else.
    """
    if not file.is_file():
        raise ComicSeqDataError(f"{file} is no file: name the best_model.pt of an original Stage 4 training.")
    try:
        with warnings.catch_warnings(action="ignore"):  # about the pickle protocol of files that are refused anyway
            saved = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ComicSeqDataError(
            f"{file} is no checkpoint of tensors and plain values: it holds code or other objects, which are not"
            " loaded, or is no PyTorch file."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = re.sub(r"\s+", " ", first_line(error)) or type(error).__name__
        raise ComicSeqDataError(f"{file} cannot be read as a PyTorch file ({reason}): copy it again.") from None
    weights = saved.get("model_state_dict") if isinstance(saved, dict) else None
    if not isinstance(weights, Mapping) or not weights:
        raise ComicSeqDataError(
            f"{file} is no checkpoint of the original Stage 4 code: it has no `model_state_dict` of tensors."
        )
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or not is_plain(tensor):
            raise ComicSeqDataError(
                f"{file} is no checkpoint of the original Stage 4 code: {name!r} in its `model_state_dict` is no"
                " dense tensor of floating-point numbers."
            )
    return saved


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether this is a dense tensor of 16-, 32- or 64-bit floats, all of whose numbers are in the file.

    Few bytes can claim to be a tensor of any shape: without data (meta), or with one number for all (stride 0).
    """
    return (
        tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and tensor.device.type == "cpu"
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def read_sizes(weights: Mapping[str, torch.Tensor], file: Path) -> Sizes:
    """The model's sizes, from the shapes of four of its tensors.

    Raises:
        ComicSeqDataError: One of them is missing, has another number of axes, or the positions are not sinusoids.
    """

    def size(name: str, num_axes: int, axis: int) -> int:
        tensor = weights.get(ENCODER + name)
        if tensor is None:
            raise ComicSeqDataError(
                f"{file} is no checkpoint of the original Stage 4 code: `{ENCODER + name}` is missing."
            )
        if tensor.dim() != num_axes or 0 in tensor.shape:
            raise ComicSeqDataError(
                f"{file}: `{ENCODER + name}` has the shape {tuple(tensor.shape)} but {num_axes} axes are expected."
            )
        return tensor.shape[axis]

    layers = {match[1] for name in weights if (match := re.match(rf"{LAYERS}(\d+)\.", name))}
    sizes = Sizes(
        hidden_size=size("strip_query", 3, 2),
        num_layers=max(len(layers), 1),
        intermediate_size=size("transformer_encoder.layers.0.linear1.weight", 2, 0),
        num_positions=size("pos_encoder.pe", 3, 1),
    )
    positions = weights[POSITIONS][0].float()
    if (
        sizes.hidden_size % 2
        or positions.shape[1] != sizes.hidden_size
        or not torch.allclose(positions, sinusoidal_positions(*positions.shape), atol=1e-4)
    ):
        raise ComicSeqDataError(f"{file}: `{POSITIONS}` does not hold the sinusoidal positions.")
    return sizes


def find_source(name: str, shape: tuple[int, ...]) -> Source | None:
    """Where a weight of `ComicSeqForPreTraining` is in the original model, None if it has no such weight."""
    ours = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
    if ours is None:
        return None
    source = name.removeprefix(ours)
    for part, original in PARTS.items():
        source = source.replace(part, original)
    source = PREFIXES[ours] + source
    if match := re.search(r"([qkv])_proj\.(\w+)$", source):
        joined = f"{source[: match.start()]}in_proj_{match[2]}"
        return Source(joined, (3 * shape[0], *shape[1:]), "qkv".index(match[1]))
    if source.endswith("_scorer.weight"):  # a bilinear layer with one output
        shape = (1, *shape)
    return Source(source, shape, None)


def check_weights(weights: Mapping[str, torch.Tensor], sources: list[Source], file: Path) -> None:
    """Raises a `ComicSeqDataError` unless names, shapes and values are those of the original model."""
    for name, shape, _ in sources:
        if name not in weights:
            raise ComicSeqDataError(f"{file} is no checkpoint of the original Stage 4 code: `{name}` is missing.")
        if tuple(weights[name].shape) != shape:
            raise ComicSeqDataError(
                f"{file}: `{name}` has the shape {tuple(weights[name].shape)} but {shape} is expected beside the"
                " other tensors."
            )
        if not weights[name].float().isfinite().all():
            raise ComicSeqDataError(
                f"{file}: `{name}` holds NaN, infinity or a number outside float32; take an earlier checkpoint."
            )
    known = {source.name for source in sources} | {POSITIONS}
    for name in weights:
        if name not in known:
            raise ComicSeqDataError(
                f"{file} is no checkpoint of the original Stage 4 code: it has no place for its `{name}`."
            )


def take(weights: Mapping[str, torch.Tensor], source: Source) -> torch.Tensor:
    """The original weight in float32."""
    weight = weights[source.name].float().contiguous()
    return weight if source.third is None else weight.chunk(3)[source.third]


def make_config(sizes: Sizes, arguments: Mapping[str, Any], num_heads: int | None, file: Path) -> ComicSeqConfig:
    """The configuration under which a ComicSeq model computes what the original one does."""
    if num_heads is None:
        num_heads = arguments.get("nhead")
        if type(num_heads) is not int:
            raise ComicSeqArgumentError(f"{file} does not tell its number of attention heads (`nhead`): give --heads.")
    if num_heads < 1 or sizes.hidden_size % num_heads:
        raise ComicSeqArgumentError(
            f"{file}: the width {sizes.hidden_size} cannot be split into {num_heads} attention heads: give --heads."
        )
    dropout = arguments.get("dropout")
    dropout = float(dropout) if isinstance(dropout, (int, float)) and 0 <= dropout < 1 else 0.1
    return ComicSeqConfig(
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_layers,
        num_attention_heads=num_heads,
        intermediate_size=sizes.intermediate_size,
        hidden_act="relu",
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        panel_embedding_dim=sizes.hidden_size,
        # The sinusoids go on as they are, so that a candidate behind the last panel has a position.
        max_position_embeddings=max(sizes.num_positions, ComicSeqConfig.max_position_embeddings),
        position_base=10000,
        input_scale=1.0,
        similarity_term=False,
        # The original heads were given candidates that the encoder had not read.
        candidate_encoding="independent",
    )


@torch.no_grad()
def make_neutral(model: ComicSeqForPreTraining, names: list[str]) -> None:
    """Sets projections to the identity, and their biases, the mask and type embeddings to zero."""
    for name in names:
        parameter = model.get_parameter(name)
        if parameter.dim() == 2:
            torch.nn.init.eye_(parameter)
        else:
            parameter.zero_()


CARD = """---
{{ card_data }}
---

# {{ model_name }}

A ComicSeq checkpoint with the weights of a checkpoint of the original Stage 4 code (`{{ file }}`, SHA-256
`{{ digest }}`, {{ training }}): width {{ config.hidden_size }}, {{ config.num_hidden_layers }} layers,
{{ config.num_attention_heads }} heads, feed-forward {{ config.intermediate_size }}.

```python
from transformers import AutoModel, AutoModelForPreTraining

model = AutoModel.from_pretrained("{{ model_name }}", trust_remote_code=True)  # the encoder
heads = AutoModelForPreTraining.from_pretrained("{{ model_name }}", trust_remote_code=True)  # and all heads
```

## What it computes

The encoder and the heads' modules compute what the original code does: pre-norm layers with ReLU, panel vectors added to
sinusoidal positions without a scale, the strip query's attention over the contextualised panels, heads without a
similarity term. Panels, pictures, texts and captions are all {{ config.panel_embedding_dim }} wide.

## What was never trained

- **The heads on the encoder's output.** The original heads take vectors as they are given and were not tied to the
  encoder's states: closure, coherence and reading order read the Stage 3 panels, padded slots included, and candidates
  are never encoded. The modules here do the same (`heads.panel_picking_head(context, candidates)`). The task classes and
  pipelines give the heads the encoder's states of the real panels: expect no sensible answers from those before
  training.
- **Panels that are taken out.** There is no mask embedding in the original model; it is zero here.
- **Modalities.** There is one kind of vector in the original model. The projections of picture-only, text-only and
  caption vectors are the identity here, and their type embeddings zero.
- **Long pages.** Training saw {{ max_panels }} panels a page at most; `max_position_embeddings` is
  {{ config.max_position_embeddings }} because sinusoids go on.
- The contrastive objective of ComicSeq, and candidates that the encoder reads (`candidate_encoding` is
  `"independent"`).

The weights that the original checkpoint does not hold:

{% for name in untrained -%}
- `{{ name }}`
{% endfor %}
Train further with `run_pretraining.py --model {{ model_name }} --dataset DIR`.
"""


def write_card(
    folder: Path,
    model_name: str,
    file: Path,
    saved: Mapping[str, Any],
    sizes: Sizes,
    config: ComicSeqConfig,
    untrained: list[str],
) -> None:
    """Writes README.md: where the weights are from, and what they were never trained for."""
    arguments = saved.get("args") if isinstance(saved.get("args"), Mapping) else {}
    known = {"epoch": saved.get("epoch"), "validation loss": saved.get("val_loss")}
    training = ", ".join(f"{name} {value}" for name, value in known.items() if isinstance(value, (int, float)))
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    max_panels = arguments.get("max_panels")  # type: ignore[union-attr]
    card = ModelCard.from_template(
        ModelCardData(
            library_name="transformers",
            pipeline_tag="feature-extraction",
            tags=["comics", "comicseq", "panel-sequences"],
        ),
        template_str=CARD,
        model_name=model_name,
        file=file.name,
        digest=digest,
        training=training or "epoch unknown",
        config=config,
        max_panels=max_panels if isinstance(max_panels, int) else sizes.num_positions,
        untrained=untrained,
    )
    card.save(folder / "README.md")
