"""Words and pictures as query vectors: by the panel encoder that made the store, and through its model."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ComicSeqArgumentError, ComicSeqDataError, PageProblem, in_words
from ...hub import find_file
from ...pages.pictures import MOST_BYTES, read_picture
from ...progress import quiet_transformers
from ...stores.origin import meaning_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...encoders.panel_encoder import PanelEncoder
    from ..encoder import PageEncoder

__all__ = ["QueryEncoder", "open_picture"]

MOST_TEXT = 10_000  # characters


class QueryEncoder:
    """The encoders behind an index, loaded when they are needed.

    Args:
        about: What the index says of itself.
        url: Where it is, for messages.
        encoder: The panel encoder, see `load_panel_encoder`; by default the one that the index names.
        model: The model of its strips; by default the one that the index names.
    """

    def __init__(self, about: Mapping[str, Any], url: str, encoder: str | None = None, model: str | None = None):
        self.about, self.url, self.encoder_name, self.model_name = about, url, encoder, model
        self._lock = threading.Lock()
        # Kept also where they do not fit: each query says so, and none loads them again.
        self._encoder: PanelEncoder | None = None
        self._pages: tuple[PageEncoder, str] | None = None

    def panel(self, text: str | None = None, image: Image | None = None) -> np.ndarray:
        """The panel vector `(P,)` of a text or of a picture, in the space of the panel encoder.

        Raises:
            ComicSeqArgumentError: The text is empty or too long.
            ComicSeqDataError: The encoder is not there, is another than the index's, or does not read such a thing.
        """
        if text is not None and (not text.strip() or len(text) > MOST_TEXT):
            what = "empty" if not text.strip() else f"{len(text):,} characters long"
            raise ComicSeqArgumentError(f"the text to search for is {what}: give some words, at most {MOST_TEXT:,}")
        encoder = self.encoder()
        with self._lock:
            if text is not None:
                vector = encoder.fuse(None, encoder.encode_texts([text]))[0]
            else:
                assert image is not None
                vector = encoder.fuse(encoder.encode_images([image]), None)[0]
        if not vector.any():
            raise ComicSeqArgumentError(f"{encoder.name} finds nothing in {text!r}: give other words")
        return vector

    def page(self, panel: np.ndarray, is_text: bool) -> tuple[np.ndarray, np.ndarray]:
        """The contextualised panel `(D,)` and the strip vector `(D,)` of a page of this one panel `(P,)`, by the model.

        Args:
            panel: Vector of a text or of a picture, see `panel`.
            is_text: Which of the two it is of.

        Raises:
            ComicSeqDataError: The model is not there, or is another than that of the index.
        """
        from ..encoder import query_modality

        encode = self.pages()
        config = encode.model.config
        if config.has_streams:
            other = np.zeros(config.visual_embedding_dim if is_text else config.text_embedding_dim, panel.dtype)
            panel = np.concatenate((other, panel) if is_text else (panel, other))
        modality = query_modality(config, "text" if is_text else "visual", len(panel))
        with self._lock:
            panels, strips = encode(panel[None].astype(np.float32), np.array([1]), modality=modality)
        return panels[0].float().cpu().numpy(), strips[0].float().cpu().numpy()

    def encoder(self) -> PanelEncoder:
        """The panel encoder."""
        name = self._name()
        width = self.about["panel_width"]
        if width is None:
            config = self.pages().model.config
            width = config.text_embedding_dim if config.has_streams else config.panel_embedding_dim
        with self._lock:
            if self._encoder is None:
                from ...encoders.panel_encoder import load_panel_encoder

                self._encoder = load_panel_encoder(name, width=width)
            self._check_encoder(self._encoder, name)
            return self._encoder

    def pages(self) -> PageEncoder:
        """The model, which makes strips."""
        about = self.about["model"] or {}
        name = self.model_name or about.get("name")
        if name is None:
            raise ComicSeqDataError(f"{self.url} does not say which model made its strips: name it with --model")
        with self._lock:
            if self._pages is None:
                self._pages = _load_model(name)
            encode, found = self._pages
            if about.get("fingerprint") not in (None, found):
                raise ComicSeqDataError(
                    f"{self.url} was made by another model than {name}: name that one with --model, or make the store and"
                    " the index again"
                )
            return encode

    def _name(self) -> str:
        """What the panel encoder is loaded by."""
        if self.encoder_name is not None:
            return self.encoder_name
        said = meaning_of(self.about["origin"])
        parts = [said.get(f"{kind}_encoder") or "" for kind in ("visual", "text")]
        if not any(parts):
            raise ComicSeqDataError(
                f"{self.url} does not say which encoder made its panel vectors: name it with --encoder, or search by page,"
                " panel, vector or --words"
            )
        return "+".join(parts)

    def _check_encoder(self, encoder: PanelEncoder, name: str) -> None:
        said = meaning_of(self.about["origin"])
        remedy = "name the encoder that made the store with --encoder"
        known = said.get("encoder_fingerprint")
        if known is not None and known != encoder.fingerprint:
            raise ComicSeqDataError(
                f"{self.url} was made by another encoder than {name} (fingerprint {known}, not {encoder.fingerprint}):"
                f" their vectors are not compared; {remedy}"
            )
        if known is None:
            own = meaning_of(encoder.origin)
            for kind in ("visual_encoder", "text_encoder"):
                if kind in said and kind in own and _base(said[kind]) != _base(own[kind]):
                    raise ComicSeqDataError(
                        f"{self.url} was made with the {kind.replace('_', ' ')} {said[kind]}, not {own[kind]}: their"
                        f" vectors are not compared; {remedy}"
                    )


def _load_model(name: str) -> tuple[PageEncoder, str]:
    """A model as it encodes pages, and its fingerprint."""
    import torch

    from ..encoder import PageEncoder, model_fingerprint

    model = _sequence_encoder(name)
    found = model_fingerprint(model)
    return PageEncoder(model, torch.device("cuda" if torch.cuda.is_available() else "cpu")), found


def _sequence_encoder(name: str) -> Any:
    """The encoder of a checkpoint of any ComicSeq class, or of a page model."""
    from ..encoder import encoder_of

    file = find_file(name, "config.json")
    if file is not None and json.loads(file.read_text(encoding="utf-8")).get("model_type") == "comicpage":
        from ...model.modeling_comicpage import ComicPageModel

        with quiet_transformers():
            model = ComicPageModel.from_pretrained(name, use_safetensors=True).sequence_encoder.float().eval()
        model.set_attn_implementation("sdpa")
        return model
    from ...checkpoints.opening import open_checkpoint

    return encoder_of(open_checkpoint(name).model)


def _base(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()


def open_picture(picture: Image | bytes | str | os.PathLike) -> Image:
    """A picture to search for, from pixels, a file's content or a path.

    Raises:
        ComicSeqDataError: It cannot be read, or is no picture, or too large.
    """
    what = repr(os.fspath(picture)[:200]) if isinstance(picture, str | os.PathLike) else "the picture"
    try:
        if isinstance(picture, str | os.PathLike):
            if not Path(picture).is_file():
                raise ComicSeqDataError(f"{what} is no file: name a picture")
            with open(picture, "rb") as file:
                picture = file.read(MOST_BYTES + 1)
        elif isinstance(picture, io.IOBase):
            picture = picture.read(MOST_BYTES + 1)
        return read_picture(picture, lossy=True).image  # type: ignore[arg-type]
    except PageProblem as problem:
        raise ComicSeqDataError(f"{what} {problem.found}; {problem.remedy}") from None
    except (OSError, ValueError) as error:
        raise ComicSeqDataError(f"{what} cannot be read ({in_words(error)}): name a picture") from None
