"""From the features of a vision and a text model to panel vectors of one width."""

from __future__ import annotations

import numpy as np
import torch

from ..model.modeling_comicpanel import ComicPanelModel, draw_projections


class PanelProjection:
    """The projections of a panel encoder, for features that are at hand; by default those that a new one begins with.

    With EfficientNet-Lite0 and all-MiniLM-L6-v2 at width 512 these make the vectors of the `stage3/peppercarrot` and
    `stage3/comics_text` stores.

    Args:
        picture_dim: Width of the picture features. It also decides which text matrix is drawn; without pictures, give
            EfficientNet-Lite0's 1,280, so that the texts land where those of panels with pictures do.
        text_dim: Width of the text features; None without one.
        width: Width of the panel vectors.
    """

    def __init__(self, picture_dim: int, text_dim: int | None, width: int):
        self.width = width
        self._picture, self._text = draw_projections(picture_dim, text_dim, width)

    @classmethod
    def of_model(cls, model: ComicPanelModel, width: int) -> PanelProjection:
        """A model's projections, or at another width than its own those that it would have begun with.

        Raises:
            ValueError: Its projections are learned, and another width than theirs is asked for.
        """
        config = model.config
        projection = cls(config.vision_feature_dim or 0, config.text_feature_dim, width)
        if width == config.projection_dim:
            for name, module in (("_picture", model.visual_projection), ("_text", model.text_projection)):
                if module is not None:
                    setattr(projection, name, module.weight.detach().float().cpu().numpy())
        elif not is_drawn(model):
            raise ValueError(
                f"The model has learned projections to the width {config.projection_dim}, and none to {width}."
            )
        return projection

    def pictures(self, vectors: np.ndarray) -> np.ndarray:
        """Picture features (..., picture_dim) at the model's width, `(..., width)`."""
        return vectors @ self._picture.T

    def texts(self, vectors: np.ndarray) -> np.ndarray:
        """Text features (..., text_dim) at the model's width, `(..., width)`; zeros, an empty text, stay zeros."""
        if self._text is None:
            raise ValueError("The projection was made without `text_dim`.")
        return vectors @ self._text.T

    def fuse(self, pictures: np.ndarray, texts: np.ndarray | None) -> np.ndarray:
        """Fused panel vectors `(..., width)`: the sum of both projections, the picture alone where there are no texts."""
        fused = self.pictures(pictures)
        return fused if texts is None else fused + self.texts(texts)


def is_drawn(model: ComicPanelModel) -> bool:
    """Whether a model's projections are those that it began with."""
    projections = [each for each in (model.visual_projection, model.text_projection) if each is not None]
    return all(
        torch.equal(each.weight.detach().cpu(), each.draw_weight().to(each.weight.dtype)) for each in projections
    )
