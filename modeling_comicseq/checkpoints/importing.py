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

from ..errors import ComicSeqArgumentError, ComicSeqDataError, in_words
from ..files import written_folder
from ..model.configuration_comicseq import ComicSeqConfig
from ..model.modeling_comicseq import ComicSeqForPreTraining, sinusoidal_positions
from ..outputs import check_output
from ..progress import quiet_transformers
from .card import METADATA

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
    check_output(output, [file], overwrite, folder=True)
    with written_folder(output, overwrite) as folder:
        saved = read_file(file)
        weights = saved["model_state_dict"]
        config = make_config(weights, saved["args"], num_attention_heads, file)
        converted = convert(weights, config, file)
        model = ComicSeqForPreTraining(config)
        untrained = sorted(model.load_state_dict(converted, strict=False).missing_keys)
        make_neutral(model, untrained)
        with quiet_transformers():
            model.save_pretrained(folder)
        write_card(folder, output.name, file, saved, config, untrained)
    return ImportReport(config, len(weights), untrained)


def _not_original(file: Path, fault: str) -> ComicSeqDataError:
    return ComicSeqDataError(f"{file} is no checkpoint of the original Stage 4 code: {fault}.")


def read_file(file: Path) -> dict[str, Any]:
    """The contents of an original checkpoint, of which only tensors and plain values are read; no `args` are empty ones.

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
        raise ComicSeqDataError(
            f"{file} cannot be read as a PyTorch file ({in_words(error)}): copy it again."
        ) from None
    weights = saved.get("model_state_dict") if isinstance(saved, dict) else None
    if not isinstance(weights, Mapping) or not weights:
        raise _not_original(file, "it has no `model_state_dict` of tensors")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or not is_plain(tensor):
            fault = f"{name!r} in its `model_state_dict` is no dense tensor of floating-point numbers"
            raise _not_original(file, fault)
    return saved | {"args": saved["args"] if isinstance(saved.get("args"), Mapping) else {}}


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


def make_config(
    weights: Mapping[str, torch.Tensor], arguments: Mapping[str, Any], num_heads: int | None, file: Path
) -> ComicSeqConfig:
    """The configuration under which a ComicSeq model computes what the original one does.

    Args:
        weights: The original tensors, whose shapes tell the sizes.
        arguments: The arguments of the original training, as far as they are known.
        num_heads: Number of attention heads; by default the `nhead` of the arguments.
        file: Where they are from, for messages.

    Raises:
        ComicSeqDataError: A tensor that tells a size is missing or has another number of axes, or the positions are not
            sinusoids.
        ComicSeqArgumentError: The number of heads is unknown or does not fit.
    """

    def size(name: str, num_axes: int, axis: int) -> int:
        if name not in weights:
            raise _not_original(file, f"`{name}` is missing")
        shape = tuple(weights[name].shape)
        if len(shape) != num_axes or 0 in shape:
            raise ComicSeqDataError(f"{file}: `{name}` has the shape {shape} but {num_axes} axes are expected.")
        return shape[axis]

    width = size(ENCODER + "strip_query", 3, 2)
    intermediate_size = size(LAYERS + "0.linear1.weight", 2, 0)
    num_positions = size(POSITIONS, 3, 1)
    positions = weights[POSITIONS][0].float()
    is_right = width % 2 == 0 and positions.shape[1] == width
    if not is_right or not torch.allclose(positions, sinusoidal_positions(*positions.shape), atol=1e-4):
        raise ComicSeqDataError(f"{file}: `{POSITIONS}` does not hold the sinusoidal positions.")
    num_heads = arguments.get("nhead") if num_heads is None else num_heads
    if type(num_heads) is not int:
        raise ComicSeqArgumentError(f"{file} does not tell its number of attention heads (`nhead`): give --heads.")
    if num_heads < 1 or width % num_heads:
        raise ComicSeqArgumentError(
            f"{file}: the width {width} cannot be split into {num_heads} attention heads: give --heads."
        )
    dropout = arguments.get("dropout")
    dropout = float(dropout) if isinstance(dropout, (int, float)) and 0 <= dropout < 1 else 0.1
    return ComicSeqConfig(
        hidden_size=width,
        num_hidden_layers=len({match[1] for name in weights if (match := re.match(rf"{LAYERS}(\d+)\.", name))}),
        num_attention_heads=num_heads,
        intermediate_size=intermediate_size,
        hidden_act="relu",
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        panel_embedding_dim=width,
        # The sinusoids go on as they are, so that a candidate behind the last panel has a position.
        max_position_embeddings=max(num_positions, ComicSeqConfig.max_position_embeddings),
        position_base=10000,
        input_scale=1.0,
        similarity_term=False,
        # The original heads were given candidates that the encoder had not read.
        candidate_encoding="independent",
    )


def find_source(name: str) -> tuple[str, int | None] | None:
    """Where a weight of `ComicSeqForPreTraining` is in the original model.

    Returns:
        The tensor, and which third of it the weight is, where queries, keys and values are one tensor; else None. None
        alone if there is no such tensor.
    """
    ours = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
    if ours is None:
        return None
    source = name.removeprefix(ours)
    for part, original in PARTS.items():
        source = source.replace(part, original)
    source = PREFIXES[ours] + source
    if match := re.search(r"([qkv])_proj\.(\w+)$", source):
        return f"{source[: match.start()]}in_proj_{match[2]}", "qkv".index(match[1])
    return source, None


def convert(weights: Mapping[str, torch.Tensor], config: ComicSeqConfig, file: Path) -> dict[str, torch.Tensor]:
    """The original weights in float32, by the names of `ComicSeqForPreTraining` and in its shapes.

    Raises:
        ComicSeqDataError: Names, shapes or values are not those of the original model.
    """
    with torch.device("meta"):  # whatever sizes the file claims
        model = ComicSeqForPreTraining(config)
    converted, known = {}, {POSITIONS}
    for ours, parameter in model.state_dict().items():
        if (source := find_source(ours)) is None:
            continue
        name, third = source
        known.add(name)
        if name not in weights:
            raise _not_original(file, f"`{name}` is missing")
        shape: tuple[int, ...] = tuple(parameter.shape)
        if third is not None:
            shape = (3 * shape[0], *shape[1:])
        elif name.endswith("_scorer.weight"):  # a bilinear layer with one output
            shape = (1, *shape)
        weight = weights[name].float().contiguous()
        if tuple(weight.shape) != shape:
            raise ComicSeqDataError(
                f"{file}: `{name}` has the shape {tuple(weight.shape)} but {shape} is expected beside the other tensors."
            )
        if not weight.isfinite().all():
            raise ComicSeqDataError(
                f"{file}: `{name}` holds NaN, infinity or a number outside float32; take an earlier checkpoint."
            )
        converted[ours] = (weight if third is None else weight.chunk(3)[third]).reshape(parameter.shape)
    for name in weights:
        if name not in known:
            raise _not_original(file, f"it has no place for its `{name}`")
    return converted


@torch.no_grad()
def make_neutral(model: ComicSeqForPreTraining, names: list[str]) -> None:
    """Sets projections to the identity, and their biases, the mask and type embeddings to zero."""
    for name in names:
        parameter = model.get_parameter(name)
        if parameter.dim() == 2:
            torch.nn.init.eye_(parameter)
        else:
            parameter.zero_()


def write_card(
    folder: Path, model_name: str, file: Path, saved: Mapping[str, Any], config: ComicSeqConfig, untrained: list[str]
) -> None:
    """Fills `imported_card.md` as README.md: where the weights are from, and what they were never trained for."""
    known = {"epoch": saved.get("epoch"), "validation loss": saved.get("val_loss")}
    training = ", ".join(f"{name} {value}" for name, value in known.items() if isinstance(value, (int, float)))
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    max_panels = saved["args"].get("max_panels")
    card = ModelCard.from_template(
        ModelCardData(**METADATA),
        template_path=str(Path(__file__).with_name("imported_card.md")),
        model_name=model_name,
        file=file.name,
        digest=digest,
        training=training or "epoch unknown",
        config=config,
        max_panels=max_panels if isinstance(max_panels, int) else saved["model_state_dict"][POSITIONS].shape[1],
        untrained=untrained,
    )
    card.save(folder / "README.md")
